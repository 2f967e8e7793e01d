package signals_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"dixie/signals"
)

func isRefused(err error) bool { return errors.Is(err, signals.ErrRefused) }

func TestConfigProblems(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]signals.Config{
		"URL is missing":                     {},
		"server 1 does not begin with":       {URL: "http://user:hunter2@host:4222"},
		"server 2 does not begin with":       {URL: "nats://host, user:hunter2@host:4222"},
		"server 1 is not a URL":              {URL: "nats://user:hunter2@ho st"},
		"server 1 names no host":             {URL: "nats://user:hunter2@:4222"},
		"server 2 names no host":             {URL: "nats://host,tls://"},
		"server 1 has a port that is not":    {URL: "nats://user:hunter2@host:0"},
		"server 2 has a port that is not":    {URL: "nats://host,nats://user:hunter2@host:99999"},
		"more than a host and a port":        {URL: "nats://user:hunter2@host/path?token=hunter2"},
		"Buffer is -1":                       {URL: "nats://user:hunter2@host", Buffer: -1},
		"Buffer is 65537, not within 0 and ": {URL: "nats://user:hunter2@host", Buffer: signals.MaxBuffer + 1},
		"AckWait is negative":                {URL: "nats://user:hunter2@host", AckWait: -time.Second},
	} {
		p, err := signals.Connect(cfg)
		if err == nil {
			closeWell(t, p)
			t.Errorf("no error about: %s", name)
			continue
		}
		if !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("error %q, want %q and no password", err, name)
		}
	}
	if _, err := signals.Connect(signals.Config{URL: "x", Buffer: -1, AckWait: -1}); strings.Count(err.Error(), "signals: ") != 3 {
		t.Errorf("not all problems at once: %v", err)
	}
}

// TestURLs connects by all forms that a URL may have.
func TestURLs(t *testing.T) {
	t.Parallel()
	nats := startNATS(t)
	address := nats.Addr().String()
	for _, url := range []string{
		"nats://" + address, "nats://user:pass%20word@" + address + "/", "nats://127.0.0.1:1 ,nats://" + address, "nats://token@" + address,
	} {
		p := connect(t, url)
		ready(t, p)
	}
}
