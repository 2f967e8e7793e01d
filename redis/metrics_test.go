package redis_test

import (
	"testing"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"

	"dixie/internal/otlptest"
	"dixie/redis"
)

func TestObserve(t *testing.T) {
	t.Parallel()
	client, _ := replicas(t)
	reader := sdkmetric.NewManualReader()
	if _, err := redis.Observe(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)).Meter("dixie"), client); err != nil {
		t.Fatal(err)
	}
	const pool = "db.client.connection.pool.name=redis"
	conn := client.Conn()
	defer func() { _ = conn.Close() }()
	if err := conn.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	got := otlptest.Values(t, reader)
	if got["db.client.connection.count "+pool+",db.client.connection.state=used"] != 1 ||
		got["db.client.connection.max "+pool] != int64(client.Options().PoolSize) || len(got) != 5 {
		t.Errorf("with a connection in use: %v", got)
	}
	_ = conn.Close()
	got = otlptest.Values(t, reader)
	if got["db.client.connection.count "+pool+",db.client.connection.state=used"] != 0 ||
		got["db.client.connection.count "+pool+",db.client.connection.state=idle"] < 1 {
		t.Errorf("afterwards: %v", got)
	}
}
