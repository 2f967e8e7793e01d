package redis

import "testing"

// FuzzParseAnnouncement: whatever another process says, what is taken from it is bounded.
func FuzzParseAnnouncement(f *testing.F) {
	for _, content := range []string{
		``, `null`, `{}`, `{"asking":true}`, `{"watched":["s-1","s-2"],"asking":false}`, `{"watched":[1]}`, `{"watched":null,"v":2}`,
	} {
		f.Add(content)
	}
	f.Fuzz(func(t *testing.T, content string) {
		a, err := parseAnnouncement(content)
		if len(a.Watched) > maxAnnounced || err != nil && (a.Asking || a.Watched != nil) {
			t.Fatalf("%d sessions, error %v", len(a.Watched), err)
		}
	})
}
