package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

func TestComplaints(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	complainTo(slog.New(slog.NewTextHandler(&out, nil))).Printf("http: TLS handshake error from 192.0.2.7:4711: EOF")
	if got := out.String(); !strings.Contains(got, "level=WARN msg=net_http text=\"http: TLS handshake error from ") || strings.Contains(got, "192.0.2.7") {
		t.Errorf("log: %s", got)
	}
}
