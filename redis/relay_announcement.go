package redis

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

const (
	// maxAnnounced is how many sessions one announcement names, and maxAnnouncement how long it may be.
	maxAnnounced    = 500
	maxAnnouncement = 1 << 20
	// announceLimit bounds one announcement; when it fails, it is tried again after announceAgain.
	announceLimit = 2 * time.Second
	announceAgain = time.Second
	// askAfter is how long after a failure others are asked what they watch.
	askAfter = time.Second
)

// announcement is what processes tell each other on the watch channel.
type announcement struct {
	// Watched are sessions that the sender watches from now on, or still.
	Watched []string `json:"watched,omitempty"`
	// Asking has those who get it announce what they watch.
	Asking bool `json:"asking,omitempty"`
}

// announce tells others what there is to tell, until the relay ends.
func (r *Relay) announce() {
	for {
		select {
		case <-r.life.Done():
			return
		case <-r.speak:
		}
		for {
			a, anything := r.news()
			if !anything {
				break
			}
			if r.tell(a) == nil {
				continue
			}
			r.untold(a)
			if !r.pause(announceAgain) {
				return
			}
		}
	}
}

// askAgain has others announce what they watch after something was not published or counted, although the
// connections may have held: whoever gave up over it learns who waits. It asks once a second at most.
func (r *Relay) askAgain() {
	for {
		select {
		case <-r.life.Done():
			return
		case <-r.missed:
		}
		if !r.pause(askAfter) {
			return
		}
		r.mu.Lock()
		r.asking = true
		r.mu.Unlock()
		signal(r.speak)
	}
}

// news takes something to announce.
func (r *Relay) news() (a announcement, anything bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.broken {
		// Not yet: answers would be missed, and there will be more to tell.
		return a, false
	}
	a.Asking, r.asking = r.asking, false
	for id := range r.unannounced {
		if len(a.Watched) == maxAnnounced {
			break
		}
		delete(r.unannounced, id)
		if c := r.channels[id]; c != nil && c.state == subscribed {
			a.Watched = append(a.Watched, id)
		}
	}
	return a, a.Asking || len(a.Watched) > 0
}

// untold puts back what could not be announced.
func (r *Relay) untold(a announcement) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asking = r.asking || a.Asking
	for _, id := range a.Watched {
		r.unannounced[id] = true
	}
}

func (r *Relay) tell(a announcement) error {
	content, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("encode announcement: %w", err)
	}
	ctx, cancel := context.WithTimeout(r.life, announceLimit)
	defer cancel()
	if err := r.client.Publish(ctx, watchChannel, append([]byte(r.origin), content...)).Err(); err != nil {
		return fmt.Errorf("announce: %w", err)
	}
	return nil
}

// told takes an announcement of another process.
func (r *Relay) told(content string) {
	a, err := parseAnnouncement(content)
	if err != nil {
		return // Nothing that a process of ours has sent.
	}
	r.mu.Lock()
	if a.Asking {
		for id, c := range r.channels {
			if c.state == subscribed {
				r.unannounced[id] = true
			}
		}
		signal(r.speak)
	}
	notified := make([]*notification, 0, len(r.notified))
	for n := range r.notified {
		notified = append(notified, n)
	}
	r.mu.Unlock()
	for _, id := range a.Watched {
		for _, n := range notified {
			n.notify(id)
		}
	}
}

func parseAnnouncement(content string) (announcement, error) {
	var a announcement
	if len(content) > maxAnnouncement {
		return a, fmt.Errorf("announcement of %d bytes", len(content))
	}
	if err := json.Unmarshal([]byte(content), &a); err != nil {
		return announcement{}, fmt.Errorf("parse announcement: %w", err)
	}
	if len(a.Watched) > maxAnnounced {
		return announcement{}, fmt.Errorf("announcement of %d sessions", len(a.Watched))
	}
	return a, nil
}
