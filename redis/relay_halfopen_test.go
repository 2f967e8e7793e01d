package redis_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"dixie/redis"
)

// fakeServer is a Redis in fake time, whose connections can go dead at their other end.
type fakeServer struct {
	// dead is how many of the connections, counted from the first, take in what is sent and give no answer.
	dead, made atomic.Int64
}

// client has connections to the server. The end of the test closes it.
func (s *fakeServer) client(t *testing.T) *goredis.Client {
	t.Helper()
	client := goredis.NewClient(&goredis.Options{
		Dialer: func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go s.serve(theirs, s.made.Add(1))
			return ours, nil
		},
		Protocol: 2, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return client
}

// serve answers a connection until its other end closes it.
func (s *fakeServer) serve(conn net.Conn, number int64) {
	defer func() { _ = conn.Close() }()
	// The pipe holds nothing, and a client that writes may not read meanwhile.
	answers := make(chan string, 100)
	defer close(answers)
	go func() {
		for text := range answers {
			_, _ = io.WriteString(conn, text)
		}
	}()
	in := bufio.NewReader(conn)
	for {
		command, err := readCommand(in)
		if err != nil {
			return
		}
		if number > s.dead.Load() {
			answers <- answer(command)
		}
	}
}

func answer(command []string) string {
	switch command[0] {
	case "subscribe", "unsubscribe":
		var out strings.Builder
		for i, channel := range command[1:] {
			fmt.Fprintf(&out, "*3\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n:%d\r\n", len(command[0]), command[0], len(channel), channel, i+1)
		}
		return out.String()
	case "ping":
		return "*2\r\n$4\r\npong\r\n$0\r\n\r\n"
	case "publish":
		return ":0\r\n"
	default:
		return "-ERR unknown command\r\n"
	}
}

// readCommand reads an array of bulk strings.
func readCommand(in *bufio.Reader) ([]string, error) {
	n, err := readLength(in, "*")
	if err != nil {
		return nil, err
	}
	command := make([]string, n)
	for i := range command {
		size, err := readLength(in, "$")
		if err != nil {
			return nil, err
		}
		text := make([]byte, size+len("\r\n"))
		if _, err := io.ReadFull(in, text); err != nil {
			return nil, fmt.Errorf("read a word: %w", err)
		}
		command[i] = string(text[:size])
	}
	return command, nil
}

func readLength(in *bufio.Reader, kind string) (int, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return 0, fmt.Errorf("read a length: %w", err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(line, kind)))
	if err != nil {
		return 0, fmt.Errorf("read a length: %w", err)
	}
	return n, nil
}

// TestRelayLeavesADeadConnection: one whose other end is gone without a word, as after the loss of a machine,
// takes what is sent and stays silent.
func TestRelayLeavesADeadConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s fakeServer
		var log lockedLog
		r := redis.NewRelay(s.client(t), log.logger())
		defer func() { _ = r.Close() }()
		if _, err := r.Watch(t.Context(), "s", func([]byte) {}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute) // fake clock
		if n := log.count("lost its connection"); n != 0 {
			t.Errorf("a quiet connection was lost %d times", n)
		}

		s.dead.Store(s.made.Load())
		time.Sleep(7 * time.Second) // fake clock
		if n := log.count("lost its connection"); n != 0 {
			t.Error("a connection was given up after a short silence")
		}
		time.Sleep(7 * time.Second) // fake clock
		if lost, back := log.count("no sign of life"), log.count("connected again"); lost != 1 || back != 1 {
			t.Errorf("after a long silence the log has %d lines of its loss and %d of the next one, want one each", lost, back)
		}
		if _, err := r.Watch(t.Context(), "other", func([]byte) {}); err != nil {
			t.Errorf("Watch over the next connection: %v", err)
		}
	})
}
