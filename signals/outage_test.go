package signals_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dixie/signals"
)

// sooner is what a client would wait for a server that says nothing, which Close must not, or almost.
const sooner = 1500 * time.Millisecond

// closeSoon closes a publisher that cannot publish what it has, and sees that it takes no longer than it may, and not much
// later.
func closeSoon(t *testing.T, p *signals.Publisher, late time.Duration) error {
	t.Helper()
	const limit = 300 * time.Millisecond
	began := time.Now() // Before the limit begins.
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	err := p.Close(ctx)
	if took := time.Since(began); took < limit || took > limit+late {
		t.Errorf("Close took %v", took)
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Close = %v", err)
	}
	if again := p.Close(t.Context()); !errors.Is(again, err) {
		t.Errorf("Close again = %v", again)
	}
	return err
}

// TestOutage stops NATS, has signals come meanwhile, and wants all of them in the stream in the end, in
// order and once; and one line for each of the beginning and the end.
func TestOutage(t *testing.T) {
	t.Parallel()
	nats := startNATS(t)
	var log journal
	p := connect(t, nats.ClientURL(), func(cfg *signals.Config) { cfg.Logger = log.logger() })
	// A server that is stopped while it makes a stream leaves goroutines behind.
	ready(t, p)
	var want []string
	offer := func() {
		for range 100 {
			id := fmt.Sprintf("s-%d", len(want))
			want = append(want, id)
			p.Interaction(t.Context(), turn(id))
		}
	}
	offer() // Some of them are under way when the server stops.
	nats.stop()
	offer()
	eventually(t, "the outage", func() bool { return len(log.lines("signals_interrupted")) == 1 })
	if got := p.Stats(); got.Buffered < 100 || got.Published+uint64(got.Buffered) != 200 {
		t.Errorf("Stats = %+v", got)
	}
	nats.run(t)
	offer()
	eventually(t, "published", func() bool { return p.Stats().Published == 300 })
	if diff := cmp.Diff(want, sessions(t, nats.ClientURL())); diff != "" {
		t.Error(diff)
	}
	eventually(t, "the end of the outage", func() bool { return len(log.lines("signals_resumed")) == 1 })
	if lines := log.lines("signals_interrupted"); len(lines) != 1 {
		t.Errorf("logged %v", lines)
	}
}

// TestAwayAtTheStart has NATS come after the publisher.
func TestAwayAtTheStart(t *testing.T) {
	t.Parallel()
	nats := startNATS(t)
	url := nats.ClientURL()
	nats.stop()
	p := connect(t, url)
	p.Interaction(t.Context(), turn("s-1"))
	if err := p.Check(t.Context()); !errors.Is(err, signals.ErrDisconnected) {
		t.Errorf("Check = %v", err)
	}
	nats.run(t)
	eventually(t, "published", func() bool { return p.Stats().Published == 1 })
	if err := p.Check(t.Context()); err != nil {
		t.Errorf("Check = %v", err)
	}
}

// TestOverflow fills the buffer, by number and by size.
func TestOverflow(t *testing.T) {
	t.Parallel()
	nats := startNATS(t)
	url := nats.ClientURL()
	nats.stop()
	var log journal
	p := open(t, url, func(cfg *signals.Config) { cfg.Buffer, cfg.Logger = 10, log.logger() })
	for i := range 25 {
		p.Interaction(t.Context(), turn(fmt.Sprintf("s-%d", i)))
	}
	if got, want := p.Stats(), (signals.Stats{Offered: 25, Dropped: 15, Buffered: 10}); got != want {
		t.Errorf("Stats = %+v, want %+v", got, want)
	}
	nats.run(t)
	eventually(t, "published", func() bool { return p.Stats().Buffered == 0 })
	var kept []string
	for i := range 10 {
		kept = append(kept, fmt.Sprintf("s-%d", i))
	}
	if diff := cmp.Diff(kept, sessions(t, url)); diff != "" {
		t.Error(diff)
	}
	p.Interaction(t.Context(), turn("later"))
	closeWell(t, p)
	if got, want := p.Stats(), (signals.Stats{Offered: 26, Dropped: 15, Published: 11}); got != want {
		t.Errorf("Stats = %+v, want %+v", got, want)
	}
	if lines := log.lines("signals_lost"); len(lines) == 0 || len(lines) > 2 {
		t.Errorf("logged %v", lines)
	}
	p.Interaction(t.Context(), turn("too late"))
	if got := p.Stats(); got.Dropped != 16 {
		t.Errorf("after Close: Stats = %+v", got)
	}

	nats.stop()
	large := open(t, url)
	e := spawned()
	e.Branch = strings.Repeat("b", 1<<20)
	for range 17 {
		large.OfferFleet(t.Context(), e)
	}
	if got, want := large.Stats(), (signals.Stats{Offered: 17, Dropped: 2, Buffered: 15}); got != want {
		t.Errorf("Stats = %+v, want %+v", got, want)
	}
	_ = closeSoon(t, large, patience)
}

// TestClose has signals buffered when it is called.
func TestClose(t *testing.T) {
	t.Parallel()
	nats := startNATS(t)
	p := open(t, nats.ClientURL())
	for range 500 {
		p.Interaction(t.Context(), turn("s"))
	}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() { closeWell(t, p) })
	}
	wg.Wait()
	if got := len(stored(t, nats.ClientURL())); got != 500 {
		t.Errorf("%d signals are stored", got)
	}
	if got, want := p.Stats(), (signals.Stats{Offered: 500, Published: 500}); got != want {
		t.Errorf("Stats = %+v, want %+v", got, want)
	}
}

// TestCloseWithoutNATS says what is lost, and with nothing to lose does not wait.
func TestCloseWithoutNATS(t *testing.T) {
	t.Parallel()
	nats := startNATS(t)
	nats.stop()
	p := open(t, nats.ClientURL())
	for range 3 {
		p.Interaction(t.Context(), turn("s"))
	}
	if err := closeSoon(t, p, patience); err == nil || !strings.Contains(err.Error(), "3 buffered signals are lost") {
		t.Errorf("Close = %v", err)
	}
	if got, want := p.Stats(), (signals.Stats{Offered: 3, Lost: 3}); got != want {
		t.Errorf("Stats = %+v, want %+v", got, want)
	}
	closeWell(t, open(t, nats.ClientURL()))
}

// TestHangingNATS has a server that accepts connections and says nothing.
func TestHangingNATS(t *testing.T) {
	t.Parallel()
	accepted := make(chan struct{}, 10)
	listener := listen(t, func(net.Conn) { accepted <- struct{}{} })
	p := open(t, "nats://"+listener)
	began := time.Now()
	for range 2 * signals.DefaultBuffer {
		p.Interaction(t.Context(), turn("s"))
		p.OfferFleet(t.Context(), spawned())
	}
	if took := time.Since(began); took > patience {
		t.Errorf("%d signals took %v", 4*signals.DefaultBuffer, took)
	}
	if got := p.Stats(); got.Buffered != signals.DefaultBuffer || got.Dropped != 3*signals.DefaultBuffer {
		t.Errorf("Stats = %+v", got)
	}
	if err := p.Check(t.Context()); !errors.Is(err, signals.ErrDisconnected) {
		t.Errorf("Check = %v", err)
	}
	// Close while the client waits for the greeting, for the second time.
	for range 2 {
		select {
		case <-accepted:
		case <-time.After(patience):
			t.Fatal("no connection")
		}
	}
	_ = closeSoon(t, p, sooner)
}

// TestServerThatGoesSilent answers the handshake and nothing else, and then ends the connection with an
// error that makes the client give up; the publisher must not.
func TestServerThatGoesSilent(t *testing.T) {
	t.Parallel()
	connected := make(chan struct{}, 100)
	listener := listen(t, func(c net.Conn) {
		_, _ = fmt.Fprint(c, `INFO {"server_id":"x","version":"2.15.0","headers":true,"max_payload":1048576,"proto":1}`+"\r\n")
		for lines := bufio.NewScanner(c); lines.Scan(); {
			line := lines.Text()
			if line == "PING" {
				_, _ = fmt.Fprint(c, "PONG\r\n")
			}
			if strings.HasPrefix(line, "HPUB dixie.signal.interaction ") {
				connected <- struct{}{}
				_, _ = fmt.Fprint(c, "-ERR 'Something Unheard Of'\r\n")
			}
		}
	})
	p := open(t, "nats://"+listener, func(cfg *signals.Config) { cfg.AckWait = 50 * time.Millisecond })
	p.Interaction(t.Context(), turn("s"))
	for range 2 {
		select {
		case <-connected:
		case <-time.After(patience):
			t.Fatal("the publisher has given up")
		}
	}
	_ = closeSoon(t, p, sooner)
}

// listen runs a server for raw connections, which it closes when the test ends, and returns its address.
func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	wg.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			wg.Go(func() { serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		mu.Lock()
		for _, c := range conns {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return listener.Addr().String()
}
