package redis_test

import (
	"testing"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

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
	got := values(t, reader)
	if got["db.client.connection.count "+pool+",db.client.connection.state=used"] != 1 ||
		got["db.client.connection.max "+pool] != int64(client.Options().PoolSize) || len(got) != 5 {
		t.Errorf("with a connection in use: %v", got)
	}
	_ = conn.Close()
	got = values(t, reader)
	if got["db.client.connection.count "+pool+",db.client.connection.state=used"] != 0 ||
		got["db.client.connection.count "+pool+",db.client.connection.state=idle"] < 1 {
		t.Errorf("afterwards: %v", got)
	}
}

// values collects what is observed, by name and attributes.
func values(tb testing.TB, reader *sdkmetric.ManualReader) map[string]int64 {
	tb.Helper()
	var collected metricdata.ResourceMetrics
	if err := reader.Collect(tb.Context(), &collected); err != nil {
		tb.Fatal(err)
	}
	found := map[string]int64{}
	for _, scope := range collected.ScopeMetrics {
		for _, m := range scope.Metrics {
			var points []metricdata.DataPoint[int64]
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				points = data.DataPoints
			case metricdata.Gauge[int64]:
				points = data.DataPoints
			}
			for _, p := range points {
				found[m.Name+" "+p.Attributes.Encoded(attribute.DefaultEncoder())] = p.Value
			}
		}
	}
	return found
}
