package finn_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"dixie/finn"
)

// The tests of this file run on virtual time, over pipes.

func TestStreamTimeLimits(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		script func(*wire)
		code   string
		took   time.Duration
		counts bool
	}{
		"silence from the start": {func(w *wire) { w.ready(); w.until() }, finn.CodeIdle, 61 * time.Second, true},
		"silence after an event": {func(w *wire) {
			w.ready()
			time.Sleep(20 * time.Second) // fake clock
			w.send(hello, `{"type":"pong"}`)
			w.until()
		}, finn.CodeIdle, 81 * time.Second, true},
		"no pong": {func(w *wire) { w.until() }, finn.CodeTimeout, 6 * time.Second, true},
		// Events come, so Finn is well: a long answer is cut, and not counted.
		"a steady answer": {func(w *wire) {
			w.ready()
			gone := make(chan struct{})
			go func() {
				w.until()
				close(gone)
			}()
			for {
				select {
				case <-gone:
					return
				case <-time.After(time.Second):
					_ = w.conn.Write(context.WithoutCancel(w.t.Context()), websocket.MessageText, []byte(hello))
				}
			}
		}, finn.CodeTimeout, 121 * time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				client, stop := inMemory(t, socketHandler(t, tc.script), finn.Config{})
				defer stop()
				start := time.Now()
				for i := range finn.FailureThreshold {
					_, err := client.Stream(t.Context(), sessionID, "hi", nil)
					wantError(t, err, finn.ErrUnavailable, tc.code)
					if took := time.Since(start); i == 0 && took > tc.took {
						t.Errorf("took %v, want at most %v", took, tc.took)
					}
				}
				if open := client.CircuitState() == finn.Open; open != tc.counts {
					t.Errorf("open = %v, want %v", open, tc.counts)
				}
			})
		})
	}
}

func TestSlowConsumerIsNotFinnsFault(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, stop := inMemory(t, socketHandler(t, func(w *wire) {
			w.ready()
			w.send(hello)
			w.until()
		}), finn.Config{})
		defer stop()
		for range 2 * finn.FailureThreshold {
			_, err := client.Stream(t.Context(), sessionID, "hi", func(finn.Event) error {
				time.Sleep(5 * time.Minute) // fake clock
				return nil
			})
			wantError(t, err, finn.ErrUnavailable, finn.CodeTimeout)
		}
		if got := client.CircuitState(); got != finn.Closed {
			t.Errorf("state = %v", got)
		}
	})
}

func TestLongTurnIsKeptAlive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pings := 0
		client, stop := inMemory(t, socketHandler(t, func(w *wire) {
			w.ready()
			for pings < 10 {
				w.expect("ping")
				pings++
				w.send(`{"type":"pong"}`)
			}
			w.send(hello, end)
			w.until()
		}), finn.Config{TurnTimeout: time.Hour, IdleTimeout: time.Hour})
		defer stop()
		start := time.Now()
		if _, err := client.Stream(t.Context(), sessionID, "hi", nil); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != 5*time.Minute {
			t.Errorf("ten pings in %v", took)
		}
	})
}

// openCircuit makes the client's circuit half-open.
func openCircuit(t *testing.T, client *finn.Client) {
	t.Helper()
	for range finn.FailureThreshold {
		if _, err := client.Send(t.Context(), sessionID, "hi"); !errors.Is(err, finn.ErrUpstream) {
			t.Fatalf("Send: %v", err)
		}
	}
	time.Sleep(finn.OpenPeriod + time.Millisecond) // fake clock
	if got := client.CircuitState(); got != finn.HalfOpen {
		t.Fatalf("state = %v", got)
	}
}

// failingREST serves sockets by script and fails everything else.
func failingREST(t *testing.T, script func(*wire)) http.HandlerFunc {
	t.Helper()
	play := socketHandler(t, script)
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		play(w, r)
	}
}

func TestProbeByStreamSucceedsAtItsFirstEvent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, stop := inMemory(t, failingREST(t, func(w *wire) {
			w.ready()
			w.send(hello)
			_ = w.conn.CloseNow() // What comes after the first event is not the probe's.
		}), finn.Config{})
		defer stop()
		openCircuit(t, client)
		_, err := client.Stream(t.Context(), sessionID, "hi", func(finn.Event) error {
			if got := client.CircuitState(); got != finn.Closed {
				t.Errorf("state at the first event = %v", got)
			}
			return nil
		})
		wantError(t, err, finn.ErrUnavailable, finn.CodeConnection)
		if got := client.CircuitState(); got != finn.Closed {
			t.Errorf("state = %v", got)
		}
	})
}

func TestProbeByStreamThatSaysNothingFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, stop := inMemory(t, failingREST(t, func(w *wire) {
			w.ready()
			w.until()
		}), finn.Config{})
		defer stop()
		openCircuit(t, client)
		_, err := client.Stream(t.Context(), sessionID, "hi", nil)
		wantError(t, err, finn.ErrUnavailable, finn.CodeIdle)
		if got := client.CircuitState(); got != finn.Open {
			t.Errorf("state = %v", got)
		}
	})
}

func TestStreamsThatBreakInTheMiddleOpenTheCircuit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, stop := inMemory(t, socketHandler(t, func(w *wire) {
			w.ready()
			w.send(hello)
			_ = w.conn.CloseNow()
		}), finn.Config{})
		defer stop()
		for range finn.FailureThreshold {
			_, err := client.Stream(t.Context(), sessionID, "hi", nil)
			wantError(t, err, finn.ErrUnavailable, finn.CodeConnection)
		}
		if got := client.CircuitState(); got != finn.Open {
			t.Errorf("state = %v", got)
		}
	})
}

func TestAbortDoesNotWaitForADeafFinn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gone := make(chan struct{})
		client, stop := inMemory(t, socketHandler(t, func(w *wire) {
			w.ready()
			<-gone // Neither reads nor writes.
		}), finn.Config{})
		defer stop()
		defer close(gone)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		start := time.Now()
		_, err := client.Stream(ctx, sessionID, "hi", nil)
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, finn.ErrUnavailable) {
			t.Errorf("error = %v", err)
		}
		if took := time.Since(start); took > 3*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// A turn that waited in line has little time left, so its end says nothing.
func TestStreamAndTheCallersDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, stop := inMemory(t, socketHandler(t, func(w *wire) {
			w.ready()
			w.until()
		}), finn.Config{})
		defer stop()
		for range finn.FailureThreshold {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			_, err := client.Stream(ctx, sessionID, "hi", nil)
			cancel()
			wantError(t, err, finn.ErrUnavailable, finn.CodeTimeout)
		}
		if got := client.CircuitState(); got != finn.Closed {
			t.Errorf("state = %v", got)
		}
	})
}

func TestCloseDoesNotWaitForAMuteFinn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gone := make(chan struct{})
		client, stop := inMemory(t, socketHandler(t, func(w *wire) {
			w.ready()
			w.send(hello, end)
			<-gone // Does not take note of the close frame.
		}), finn.Config{})
		defer stop()
		defer close(gone)
		if _, err := client.Stream(t.Context(), sessionID, "hi", nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		start := time.Now()
		_ = client.Close()
		if took := time.Since(start); took != 0 {
			t.Errorf("Close took %v", took)
		}
	})
}

func TestSocketOfAMuteFinnIsCut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		read := make(chan error, 1)
		client, stop := inMemory(t, socketHandler(t, func(w *wire) {
			w.ready()
			w.send(hello, end)
			time.Sleep(1100 * time.Millisecond) // fake clock
			_, _, err := w.next()
			read <- err
		}), finn.Config{})
		defer stop()
		if _, err := client.Stream(t.Context(), sessionID, "hi", nil); err != nil {
			t.Fatal(err)
		}
		// The close frame was not taken in time, and is no longer to be had.
		if err := <-read; err == nil || websocket.CloseStatus(err) != -1 {
			t.Errorf("Finn read %v", err)
		}
	})
}
