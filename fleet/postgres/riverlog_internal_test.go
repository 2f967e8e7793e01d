package postgres

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func withoutTime(level slog.Level, out *bytes.Buffer) *slog.Logger {
	return slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
}

func TestRiverLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := newRiverLog(withoutTime(slog.LevelInfo, &out))
		for range 3 {
			log.Info("Producer job counts")
			log.With("client_id", "a").Error("producer: Error fetching jobs", "err", "refused")
			log.WithGroup("g").Error("elector:\n  lost")
		}
		time.Sleep(time.Minute) // fake clock
		log.Error("producer: Error fetching jobs")
		want := "level=ERROR msg=\"producer: Error fetching jobs\" client_id=a err=refused\n" +
			"level=ERROR msg=\"elector: lost\"\n" +
			"level=ERROR msg=\"producer: Error fetching jobs\"\n"
		if diff := cmp.Diff(want, out.String()); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		out.Reset()
		newRiverLog(withoutTime(slog.LevelDebug, &out)).Info("counts")
		if got := strings.TrimSpace(out.String()); got != "level=DEBUG msg=counts" {
			t.Errorf("information is %q", got)
		}
	})
}

// textless has an error method that cannot be called.
type textless struct{ error }

func TestRiverLogIsSanitised(t *testing.T) {
	t.Parallel()
	const secret = "swordfish"
	var out bytes.Buffer
	log := newRiverLog(withoutTime(slog.LevelInfo, &out)).With("before", errors.New("password="+secret), "n", 7)
	log.Error("listener: error with password="+secret, "err", errors.New("password="+secret), "text", "password="+secret,
		"any", []string{"password=" + secret}, slog.Group("g", "in", "password="+secret), "none", textless{}, "took", time.Second)
	if got := out.String(); strings.Contains(got, secret) || strings.Count(got, "password") != 6 ||
		!strings.Contains(got, "n=7") || !strings.Contains(got, "took=1s") {
		t.Errorf("log: %s", got)
	}
}

func TestOutageLog(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	o := outageLog{log: withoutTime(slog.LevelInfo, &out), fails: "fails", goes: "goes"}
	for _, err := range []error{nil, errors.New("a"), errors.New("b"), nil, nil, errors.New("c")} {
		o.note(t.Context(), err)
	}
	if want := "level=WARN msg=fails error=a\nlevel=INFO msg=goes\nlevel=WARN msg=fails error=c\n"; out.String() != want {
		t.Errorf("log:\n%s", &out)
	}
}
