package redis_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"dixie/redis"
)

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	const secret = "s3cr3t"
	for _, tc := range []struct {
		config redis.Config
		want   string
	}{
		{redis.Config{}, "redis://"},
		{redis.Config{URL: "localhost:6379"}, "redis://"},
		{redis.Config{URL: "http://:s3cr3t@localhost"}, "redis://"},
		{redis.Config{URL: "unix://:s3cr3t@/tmp/redis.sock"}, "redis://"},
		{redis.Config{URL: "redis://:s3cr3t@/0"}, "host"},
		{redis.Config{URL: "redis://:s3cr3t/x@localhost/0"}, "parsed"},
		{redis.Config{URL: "redis://:6/s3cr3t@localhost/0"}, "host"},
		{redis.Config{URL: "redis://user:6/s3cr3t@localhost/0"}, "database"},
		{redis.Config{URL: "redis://user:6/0?s3cr3t@localhost"}, "parameters"},
		{redis.Config{URL: "redis://:s3cr3t@localhost:port/0"}, "parsed"},
		{redis.Config{URL: "redis://:s3cr3t%zz@localhost/0"}, "parsed"},
		{redis.Config{URL: "redis://:s3cr3t@localhost/first"}, "database"},
		{redis.Config{URL: "redis://:s3cr3t@localhost/-1"}, "negative"},
		{redis.Config{URL: "redis://:s3cr3t@localhost/0?colour=s3cr3t"}, "parameters"},
		{redis.Config{URL: "redis://:s3cr3t@localhost/0?read_timeout=s3cr3t"}, "parameters"},
		{redis.Config{URL: "redis://:s3cr3t@localhost/0", PoolSize: -1}, "pool"},
		{redis.Config{URL: "redis://:s3cr3t@localhost/0", PoolSize: redis.MaxPoolSize + 1}, "pool"},
		{redis.Config{URL: "redis://:s3cr3t@localhost/0?pool_size=100000"}, "pool"},
		{redis.Config{URL: "redis://:s3cr3t@localhost/0", ClientName: "my service"}, "name"},
	} {
		client, err := redis.Open(tc.config)
		if err == nil {
			_ = client.Close()
			t.Errorf("%+v was accepted", tc.config)
			continue
		}
		if !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), secret) {
			t.Errorf("%+v: %v, want something about %q", tc.config, err, tc.want)
		}
	}
}

func TestOpenSettles(t *testing.T) {
	t.Parallel()
	client := open(t, "rediss://user:s3cr3t@example.test:7000/3?read_timeout=2s&max_retries=-1&pool_size=7", nil)
	o := client.Options()
	if o.Addr != "example.test:7000" || o.DB != 3 || o.Username != "user" || o.Password != "s3cr3t" || o.TLSConfig.ServerName != "example.test" {
		t.Errorf("the URL is not followed: %+v", o)
	}
	if o.ReadTimeout != 2*time.Second || o.MaxRetries != 0 || o.PoolSize != 7 || o.WriteTimeout != redis.CallTimeout || o.ClientName != "dixie" {
		t.Errorf("the URL's parameters are not followed: %+v", o)
	}
	client, err := redis.Open(redis.Config{URL: "redis://localhost?pool_size=7&client_name=theirs", PoolSize: 3, ClientName: "ours"})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if o := client.Options(); o.PoolSize != 3 || o.ClientName != "ours" || !o.ContextTimeoutEnabled {
		t.Errorf("the configuration is not followed: %+v", o)
	}
}

// TestHandshake shows what a new connection costs the server, and that none of it is refused.
func TestHandshake(t *testing.T) {
	t.Parallel()
	own := startServer(t)
	client := open(t, own.URL(), nil)
	if err := client.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	if list := client.ClientList(t.Context()).Val(); !strings.Contains(list, " name=dixie ") {
		t.Errorf("clients: %s", list)
	}
	stats := client.Info(t.Context(), "commandstats", "errorstats").Val()
	if strings.Contains(stats, "errorstat_") || strings.Contains(stats, "setinfo") || strings.Contains(stats, "maint") {
		t.Errorf("the server saw:\n%s", stats)
	}
}

func TestPasswords(t *testing.T) {
	t.Parallel()
	own := startServer(t)
	admin := open(t, own.URL(), nil)
	if err := admin.ConfigSet(t.Context(), "requirepass", "s3cr3t").Err(); err != nil {
		t.Fatal(err)
	}
	host := strings.TrimPrefix(own.URL(), "redis://")
	if err := open(t, "redis://:s3cr3t@"+host, nil).Ping(t.Context()).Err(); err != nil {
		t.Error(err)
	}
	for _, url := range []string{"redis://:wr0ng@" + host, "redis://" + host} {
		err := open(t, url, nil).Ping(t.Context()).Err()
		if err == nil || strings.Contains(err.Error(), "wr0ng") {
			t.Errorf("%v, want a refusal that does not quote the password", err)
		}
	}
	// As before Redis 6, which does not know HELLO.
	if err := admin.Do(t.Context(), "ACL", "SETUSER", "default", "-hello").Err(); err != nil {
		t.Fatal(err)
	}
	if err := open(t, "redis://:s3cr3t@"+host, nil).Ping(t.Context()).Err(); err != nil {
		t.Errorf("without HELLO: %v", err)
	}
}

func TestDeadlinesHold(t *testing.T) {
	t.Parallel()
	own := startServer(t)
	client := open(t, own.URL()+"?read_timeout=20s", nil) // The client's own limit is far away.
	if err := client.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	own.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if err := client.Ping(ctx).Err(); err == nil || time.Since(begin) > 10*time.Second {
		t.Errorf("after %v: %v", time.Since(begin), err)
	}
}
