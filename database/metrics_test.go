package database_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"

	"dixie/database"
	"dixie/internal/otlptest"
)

func TestObserve(t *testing.T) {
	t.Parallel()
	pool, err := database.Open(context.WithoutCancel(t.Context()), database.Config{URL: server.Database(t), Size: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	reader := sdkmetric.NewManualReader()
	registration, err := database.Observe(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)).Meter("dixie"), pool)
	if err != nil {
		t.Fatal(err)
	}
	held := make([]*pgxpool.Conn, 3)
	defer func() {
		for _, conn := range held {
			if conn != nil {
				conn.Release()
			}
		}
	}()
	for i := range held {
		if held[i], err = pool.Acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	gone, leave := context.WithCancel(t.Context())
	leave()
	if _, err := pool.Acquire(gone); err == nil {
		t.Error("a fourth connection")
	}
	got := otlptest.Values(t, reader)
	delete(got, "dixie.pool.waits db.client.connection.pool.name=postgresql") // How many had to be opened is chance.
	want := map[string]int64{
		"db.client.connection.count db.client.connection.pool.name=postgresql,db.client.connection.state=used": 3,
		"db.client.connection.count db.client.connection.pool.name=postgresql,db.client.connection.state=idle": 0,
		"db.client.connection.max db.client.connection.pool.name=postgresql":                                   3,
		"db.client.connection.timeouts db.client.connection.pool.name=postgresql":                              1,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if err := registration.Unregister(); err != nil {
		t.Fatal(err)
	}
	if got := otlptest.Values(t, reader); len(got) != 0 {
		t.Errorf("still observed: %v", got)
	}
}
