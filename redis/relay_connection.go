package redis

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"dixie/spansanitizer"
)

const (
	// pingEvery is how often the server is asked for a sign of life, and silenceLimit how long it may give
	// none before the connection counts as lost.
	pingEvery    = 3 * time.Second
	silenceLimit = 10 * time.Second
	// minPause and maxPause are between two attempts to connect.
	minPause = 50 * time.Millisecond
	maxPause = time.Second
	// maxCommand is how many channels one command names.
	maxCommand = 1000
)

var errSilence = errors.New("no sign of life")

// listen keeps a connection until the relay ends.
func (r *Relay) listen() {
	pause := minPause
	for {
		err := r.connection()
		worked := r.disconnected()
		if r.life.Err() != nil {
			return
		}
		if worked {
			pause = minPause
			r.logger.WarnContext(r.life, "redis relay lost its connection", "error", spansanitizer.TextOf(err))
		}
		if !r.pause(pause) {
			return
		}
		pause = min(2*pause, maxPause)
	}
}

// disconnected notes that the server knows none of our subscriptions any more, and reports whether it is
// the first to do so since the connection was there last.
func (r *Relay) disconnected() (first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.channels {
		c.become(absent)
	}
	first = !r.broken
	r.broken = true
	return first
}

// connection makes one and returns when it has failed, or the relay ends. Receiving from it and changing
// its subscriptions are goroutines of their own: a full pipe in one direction must not stop the other.
func (r *Relay) connection() error {
	// Without go-redis's channel, which drops messages when it is full.
	pubsub := r.client.Subscribe(r.life)
	defer func() { _ = pubsub.Close() }()
	if err := pubsub.Subscribe(r.life, watchChannel); err != nil {
		return err //nolint:wrapcheck // It only goes to the log, which says what it is about.
	}
	// When the connection is lost, go-redis makes another one with the same subscriptions, by itself and before it says
	// so: until that is closed here, the server counts messages to it as delivered. With a context that has ended it
	// cannot dial; what there is, is read and written all the same.
	established, end := context.WithCancel(r.life)
	end()
	var heard atomic.Int64
	heard.Store(time.Now().UnixNano())
	var failure error
	received := make(chan struct{})
	go func() {
		defer close(received)
		failure = r.receive(established, pubsub, &heard)
	}()
	err := r.subscribe(established, pubsub, &heard, received)
	// The receiver ends with its connection: what it has read must not be taken for news of the next one.
	_ = pubsub.Close()
	<-received
	if err == nil {
		err = failure
	}
	return err
}

// receive takes in what comes until the connection fails. It is called with a context that has ended, and so are those
// below; see connection.
func (r *Relay) receive(established context.Context, pubsub *goredis.PubSub, heard *atomic.Int64) error {
	for {
		// No time limit: one that strikes in the middle of a message would spoil those that follow.
		in, err := pubsub.Receive(established)
		if err != nil {
			return err //nolint:wrapcheck // As above.
		}
		heard.Store(time.Now().UnixNano())
		switch in := in.(type) {
		case *goredis.Subscription:
			r.confirmed(in)
		case *goredis.Message:
			r.arrived(in)
		}
	}
}

// subscribe keeps the subscriptions of the connection what they should be until it fails, or the receiver
// has: that is no error.
func (r *Relay) subscribe(established context.Context, pubsub *goredis.PubSub, heard *atomic.Int64, received <-chan struct{}) error {
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	signal(r.steer)
	for {
		select {
		case <-r.life.Done():
			return errClosed
		case <-received:
			return nil
		case <-ping.C:
			if time.Since(time.Unix(0, heard.Load())) > silenceLimit {
				return errSilence
			}
			if err := pubsub.Ping(established); err != nil {
				return err //nolint:wrapcheck // As above.
			}
		case <-r.steer:
			if err := r.change(established, pubsub); err != nil {
				return err
			}
		}
	}
}

// change sends the commands that are due.
func (r *Relay) change(established context.Context, pubsub *goredis.PubSub) error {
	for {
		more, fewer := r.due()
		if len(more)+len(fewer) == 0 {
			return nil
		}
		if len(more) > 0 {
			if err := pubsub.Subscribe(established, more...); err != nil {
				return err //nolint:wrapcheck // As above.
			}
		}
		// Without a name it would leave all channels.
		if len(fewer) > 0 {
			if err := pubsub.Unsubscribe(established, fewer...); err != nil {
				return err //nolint:wrapcheck // As above.
			}
		}
	}
}

// due returns the channels to subscribe to and to leave, and takes it that this is being done.
func (r *Relay) due() (more, fewer []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, c := range r.channels {
		wanted := len(c.watchers) > 0
		switch {
		case len(more)+len(fewer) == maxCommand:
			return more, fewer
		case wanted && c.state == absent:
			c.become(subscribing)
			more = append(more, eventChannel+id)
		case !wanted && c.state == subscribed:
			c.become(unsubscribing)
			fewer = append(fewer, eventChannel+id)
		case !wanted && c.state == absent:
			delete(r.channels, id)
		}
	}
	return more, fewer
}

// confirmed takes the server's word that a subscription has changed.
func (r *Relay) confirmed(in *goredis.Subscription) {
	if in.Channel == watchChannel {
		r.connected()
		return
	}
	id, _ := strings.CutPrefix(in.Channel, eventChannel)
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.channels[id]
	switch {
	case c == nil:
	case c.state == subscribing && in.Kind == "subscribe":
		c.become(subscribed)
		r.unannounced[id] = true
		signal(r.speak)
	case c.state == unsubscribing && in.Kind == "unsubscribe":
		c.become(absent)
	}
	// What is wanted may have changed meanwhile.
	signal(r.steer)
}

// connected notes that announcements come in.
func (r *Relay) connected() {
	r.mu.Lock()
	back := r.broken
	r.broken = false
	r.asking = true
	r.mu.Unlock()
	signal(r.speak)
	if back {
		r.logger.InfoContext(r.life, "redis relay is connected again")
	}
}

// arrived hands out a message of another process.
func (r *Relay) arrived(in *goredis.Message) {
	if len(in.Payload) < originSize || in.Payload[:originSize] == r.origin {
		return
	}
	content := in.Payload[originSize:]
	if in.Channel == watchChannel {
		r.told(content)
		return
	}
	id, _ := strings.CutPrefix(in.Channel, eventChannel)
	var watchers []*watcher
	r.mu.Lock()
	if c := r.channels[id]; c != nil {
		watchers = c.watchers
	}
	r.mu.Unlock()
	for _, w := range watchers {
		w.deliver([]byte(content))
	}
}
