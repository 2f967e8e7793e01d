package signals_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"dixie"
	"dixie/signals"
)

func ExampleConnect() {
	if err := example(); err != nil {
		fmt.Println(err)
	}
	// Output:
	// nats answers: true
	// published 1, dropped 0, buffered 0
}

func example() error {
	url, stop, err := exampleServer()
	if err != nil {
		return err
	}
	defer stop()

	publisher, err := signals.Connect(signals.Config{URL: url})
	if err != nil {
		return err
	}
	options := []dixie.Option{
		dixie.WithChat(dixie.ChatConfig{OnInteraction: publisher.Interaction}),
		// What happens to tasks. A store of package fleet/postgres publishes it itself, and only denials
		// come here: give it, as its Publish,
		//
		//	func(ctx context.Context, e fleet.Event) error {
		//		return publisher.Fleet(ctx, postgres.MessageID(ctx), e)
		//	}
		dixie.WithFleet(dixie.FleetConfig{OnEvent: publisher.OfferFleet}),
		dixie.WithDependency(dixie.Dependency{Name: "nats", Check: publisher.Check}),
	}
	_ = options // And the others, for dixie.New. Here is a turn that its handler would tell of:
	publisher.Interaction(context.Background(), dixie.Interaction{SessionID: "s-1", MessageID: "m-1", At: time.Now()})

	// After the handler has shut down.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	fmt.Println("nats answers:", answers(ctx, publisher))
	if err := publisher.Close(ctx); err != nil {
		return err
	}
	s := publisher.Stats()
	fmt.Printf("published %d, dropped %d, buffered %d\n", s.Published, s.Dropped, s.Buffered)
	return nil
}

// answers asks until the stream is there, which takes a moment after Connect.
func answers(ctx context.Context, p *signals.Publisher) bool {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		if p.Check(ctx) == nil {
			return true
		}
		<-tick.C
	}
	return false
}

// exampleServer starts NATS with JetStream in this process.
func exampleServer() (url string, stop func(), err error) {
	dir, err := os.MkdirTemp("", "dixie-signals-")
	if err != nil {
		return "", nil, err
	}
	nats, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: dir, NoLog: true, NoSigs: true,
	})
	if err != nil {
		return "", nil, err
	}
	nats.Start()
	return nats.ClientURL(), func() {
		nats.Shutdown()
		nats.WaitForShutdown()
		_ = os.RemoveAll(dir)
	}, nil
}
