package main_test

import (
	"context"
	"encoding/json"
	"strconv"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// natsServer is a NATS with JetStream in this process, on one port and folder through all its lives.
type natsServer struct {
	t      *testing.T
	folder string
	port   int
	server *natsserver.Server
}

func startNATS(t *testing.T) *natsServer {
	t.Helper()
	port, err := strconv.Atoi(freePort(t))
	if err != nil {
		t.Fatal(err)
	}
	n := &natsServer{t: t, folder: t.TempDir(), port: port}
	n.start()
	t.Cleanup(n.stop)
	return n
}

func (n *natsServer) url() string { return "nats://127.0.0.1:" + strconv.Itoa(n.port) }

func (n *natsServer) start() {
	n.t.Helper()
	server, err := natsserver.NewServer(&natsserver.Options{
		Host: "127.0.0.1", Port: n.port, JetStream: true, StoreDir: n.folder, NoLog: true, NoSigs: true,
	})
	if err != nil {
		n.t.Fatal(err)
	}
	server.Start()
	if !server.ReadyForConnections(time.Minute) {
		n.t.Fatal("NATS does not start")
	}
	n.server = server
}

func (n *natsServer) stop() {
	n.server.Shutdown()
	n.server.WaitForShutdown()
}

// told counts the signals of admissions in the stream, by task.
func (n *natsServer) told(t *testing.T) map[string]int {
	t.Helper()
	conn, err := nats.Connect(n.url())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	stream, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	consumer, err := stream.OrderedConsumer(ctx, "DIXIE_SIGNALS", jetstream.OrderedConsumerConfig{FilterSubjects: []string{"dixie.fleet.agent_spawned"}})
	if err != nil {
		t.Fatal(err)
	}
	told := make(map[string]int)
	for {
		messages, err := consumer.FetchNoWait(1000)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for message := range messages.Messages() {
			n++
			var signal struct {
				TaskID string `json:"taskId"`
			}
			if err := json.Unmarshal(message.Data(), &signal); err != nil {
				t.Fatal(err)
			}
			told[signal.TaskID]++
		}
		if n == 0 {
			return told
		}
	}
}

// toldAll says whether the admission of each acknowledged task is in the stream.
func (n *natsServer) toldAll(t *testing.T, known *acknowledged) bool {
	t.Helper()
	told := n.told(t)
	for id := range known.tasks {
		if told[id] == 0 {
			return false
		}
	}
	return true
}

// check wants one signal of each acknowledged task's admission in the stream.
func (n *natsServer) check(t *testing.T, known *acknowledged) {
	t.Helper()
	told := n.told(t)
	for id := range known.tasks {
		if told[id] != 1 {
			t.Errorf("the admission of task %s was told %d times", id, told[id])
		}
	}
}
