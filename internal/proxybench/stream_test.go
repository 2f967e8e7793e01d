package proxybench_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// streamWorkers is the number of streams at a time.
const streamWorkers = 16

// event is a server-sent event.
type event struct {
	id         uint64
	kind, data string
}

// readEvents reads a stream to its end. A connection that breaks off in the middle is an error.
func readEvents(r io.Reader) ([]event, error) {
	var events []event
	var e event
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ": ")
		switch {
		case field == "id":
			id, err := strconv.ParseUint(value, 10, 64)
			if err != nil {
				return events, err
			}
			e.id = id
		case field == "event":
			e.kind = value
		case field == "data":
			e.data += value
		case field == "" && value == "":
			if e.kind != "" {
				events = append(events, e)
			}
			e = event{}
		case field != "": // A comment begins with the colon.
			return events, fmt.Errorf("line %q", lines.Text())
		}
	}
	if err := lines.Err(); err != nil {
		return events, err
	}
	if e.kind != "" {
		return events, io.ErrUnexpectedEOF
	}
	return events, nil
}

// The ways in which a stream can be other than whole.
var (
	errCut   = errors.New("cut short")
	errWrong = errors.New("wrong")
)

// verify checks that the events are a whole answer: the selection, every word as its own chunk, in order, and the end
// with the whole text; ids ascend from after. It returns the last id.
func verify(events []event, words []string, after uint64) (uint64, error) {
	if len(events) == 0 || events[len(events)-1].kind != "done" {
		return after, fmt.Errorf("%w: %d events, the last %v", errCut, len(events), events[max(0, len(events)-1):])
	}
	want := make([]event, 0, len(words)+2)
	want = append(want, event{kind: "model_selection"})
	for _, word := range words {
		want = append(want, event{kind: "chunk", data: word})
	}
	want = append(want, event{kind: "done", data: strings.Join(words, "")})
	if len(events) != len(want) {
		return after, fmt.Errorf("%w: %d events, want %d", errWrong, len(events), len(want))
	}
	var text strings.Builder
	for i, e := range events {
		var data struct {
			Content string `json:"content"`
		}
		if err := json.Unmarshal([]byte(e.data), &data); err != nil {
			return after, fmt.Errorf("%w: event %d is %q", errWrong, i, e.data)
		}
		if e.kind != want[i].kind || data.Content != want[i].data || e.id <= after {
			return after, fmt.Errorf("%w: event %d is %v after %d, want %v", errWrong, i, e, after, want[i])
		}
		after = e.id
		if e.kind == "chunk" {
			text.WriteString(data.Content)
		}
	}
	if text.String() != strings.Join(words, "") {
		return after, fmt.Errorf("%w: the chunks say %q", errWrong, text.String())
	}
	return after, nil
}

// sums counts streams by how they ended.
type sums struct {
	whole, cut, wrong, refused, chunks, bytes atomic.Int64
}

func (s *sums) add(err error, words []string) {
	switch {
	case err == nil:
		s.whole.Add(1)
		s.chunks.Add(int64(len(words)))
		s.bytes.Add(int64(len(strings.Join(words, ""))))
	case errors.Is(err, errStatus):
		s.refused.Add(1)
	case errors.Is(err, errWrong):
		s.wrong.Add(1)
	default:
		s.cut.Add(1)
	}
}

// streamTurn asks for a streamed answer and verifies it.
func streamTurn(c *client, request []byte, words []string, after uint64) (uint64, error) {
	response, err := c.send(request)
	if err != nil {
		return after, err
	}
	if kind := response.Header.Get("Content-Type"); kind != "text/event-stream" {
		return after, fmt.Errorf("%w: content type %q", errWrong, kind)
	}
	events, err := readEvents(response.Body)
	if err != nil {
		return after, fmt.Errorf("%w after %d events: %w", errCut, len(events), err)
	}
	return verify(events, words, after)
}

// streamer asks for one answer after the other, on one connection, in the sessions of its callers.
type streamer struct {
	dixie   *process
	callers []caller
	// last is the id of the last event of each caller's session.
	last []uint64
	c    *client
}

// stream runs the nth stream. After a failure the next one has a new connection.
func (s *streamer) stream(n int) (words []string, err error) {
	words = wordsOf(answerWords/2 + n%(answerWords+1)) // Around the usual length.
	if s.c == nil {
		if s.c, err = dial(s.dixie); err != nil {
			return words, err
		}
	}
	at := n % len(s.callers)
	body := fmt.Sprintf(`{"prompt":"[[words %d]]","sessionId":%q}`, len(words), s.callers[at].session)
	s.last[at], err = streamTurn(s.c, s.callers[at].request(s.dixie, body, "text/event-stream"), words, s.last[at])
	if err != nil {
		s.close()
		return words, fmt.Errorf("session %s: %w", s.callers[at].session, err)
	}
	return words, nil
}

func (s *streamer) close() {
	if s.c != nil {
		s.c.close()
		s.c = nil
	}
}

// TestStreamedAnswersAreWhole runs the number of streams that the flag says.
func TestStreamedAnswersAreWhole(t *testing.T) {
	t.Parallel()
	dixie := launch(t, roleDixie, launch(t, roleFinn, nil))
	list := enroll(t, dixie)
	count := int64(*streams)
	var total sums
	var next, shown atomic.Int64
	var all sync.WaitGroup
	start := time.Now()
	for mine := range slices.Chunk(list, len(list)/streamWorkers) {
		s := &streamer{dixie: dixie, callers: mine, last: make([]uint64, len(mine))}
		all.Go(func() {
			defer s.close()
			for n := next.Add(1); n <= count; n = next.Add(1) {
				words, err := s.stream(int(n))
				total.add(err, words)
				if err != nil && shown.Add(1) <= 10 {
					t.Errorf("stream %d: %v", n, err)
				}
			}
		})
	}
	all.Wait()
	took := time.Since(start)
	if total.whole.Load() != count {
		t.Errorf("%d of %d are whole", total.whole.Load(), count)
	}
	t.Logf("%d streams, %d at a time, in %v (%.0f a second): %d whole with %d chunks and %d bytes of text; "+
		"%d cut short, %d wrong, %d refused",
		count, streamWorkers, took.Round(time.Millisecond), float64(count)/took.Seconds(),
		total.whole.Load(), total.chunks.Load(), total.bytes.Load(), total.cut.Load(), total.wrong.Load(), total.refused.Load())
}

// TestVerifyFindsHoles shows that the check above would notice.
func TestVerifyFindsHoles(t *testing.T) {
	t.Parallel()
	const (
		open = "id: 5\nevent: model_selection\ndata: {}\n\n" +
			"id: 6\nevent: chunk\ndata: {\"content\":\"word1 \"}\n\n" +
			": heartbeat\n\n" +
			"id: 7\nevent: chunk\ndata: {\"content\":\"word2\"}\n\n"
		whole = open + "id: 9\nevent: done\ndata: {\"content\":\"word1 word2\"}\n\n"
	)
	for name, test := range map[string]struct {
		text  string
		after uint64
		want  error
	}{
		"whole":          {whole, 4, nil},
		"no end":         {open, 4, errCut},
		"nothing":        {"", 4, errCut},
		"half an event":  {strings.TrimSuffix(whole, "\n"), 4, io.ErrUnexpectedEOF},
		"chunk missing":  {strings.Replace(whole, "id: 7\nevent: chunk\ndata: {\"content\":\"word2\"}\n\n", "", 1), 4, errWrong},
		"chunk changed":  {strings.Replace(whole, "word1 \"", "word1\"", 1), 4, errWrong},
		"text differs":   {strings.Replace(whole, "word1 word2", "word1", 1), 4, errWrong},
		"id goes back":   {strings.Replace(whole, "id: 7", "id: 6", 1), 4, errWrong},
		"of a past turn": {whole, 5, errWrong},
		"failure at end": {strings.Replace(whole, "done", "error", 1), 4, errCut},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			events, err := readEvents(strings.NewReader(test.text))
			if err == nil {
				_, err = verify(events, wordsOf(2), test.after)
			}
			if !errors.Is(err, test.want) {
				t.Errorf("%v, want %v", err, test.want)
			}
		})
	}
}

// TestProxiesAnswer shows that each role does what it is measured for.
func TestProxiesAnswer(t *testing.T) {
	t.Parallel()
	finn := launch(t, roleFinn, nil)
	dixie := launch(t, roleDixie, finn)
	list := enroll(t, dixie)
	for _, role := range proxies() {
		p := dixie
		if role != roleDixie {
			p = launch(t, role, finn)
		}
		if role == roleObserved {
			list = enroll(t, p)
		}
		if _, err := newLoad(t, p, list).run(2 * callers); err != nil {
			t.Errorf("%s: %v", role, err)
		}
		stranger := list[0]
		stranger.token = "none"
		c := connect(t, p)
		_, err := c.whole(stranger.prompt(p, "hello"))
		refused := err != nil && strings.Contains(err.Error(), strconv.Itoa(http.StatusUnauthorized))
		if checks := role == roleHandwritten || isDixie(role); refused != checks {
			t.Errorf("%s, a stranger: %v", role, err)
		}
	}
}
