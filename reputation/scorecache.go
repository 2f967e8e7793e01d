package reputation

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const (
	// ScoreTTL is how long [Service.Score] may answer from memory.
	ScoreTTL = 5 * time.Second
	// ScoreCacheSize is the number of agents whose score is kept.
	ScoreCacheSize = 10_000
)

// scoreCache remembers scores for a short while, also that there is none. It holds
// a fixed number of agents; the least recently used goes first.
//
// A reader that misses puts a ticket into the cache before it asks the store, and its
// answer into the ticket. Dropping an agent takes the ticket out of the cache, so an
// answer that was read before a recording is not found after it.
type scoreCache struct {
	mu      sync.Mutex
	entries *simplelru.LRU[string, *scoreEntry] // GUARDED_BY(mu)
}

type scoreEntry struct {
	ready bool
	score *float64
	until time.Time
}

func newScoreCache() *scoreCache {
	// The only error of NewLRU is a size that is not positive.
	entries, _ := simplelru.NewLRU[string, *scoreEntry](ScoreCacheSize, nil)

	return &scoreCache{entries: entries}
}

// get returns the cached score, or a ticket to put one.
func (c *scoreCache) get(agentID string) (score *float64, hit bool, ticket *scoreEntry) {
	c.mu.Lock()
	defer c.mu.Unlock()

	entry, ok := c.entries.Get(agentID)
	if ok && entry.ready && time.Now().Before(entry.until) {
		return copied(entry.score), true, nil
	}

	// Readers that overlap share a ticket; nothing was dropped since it was taken.
	if !ok || entry.ready {
		entry = &scoreEntry{}
		c.entries.Add(agentID, entry)
	}

	return nil, false, entry
}

// put keeps the score in the ticket. A ticket that was dropped is in no cache.
func (c *scoreCache) put(ticket *scoreEntry, score *float64) {
	c.mu.Lock()
	defer c.mu.Unlock()

	if ticket.ready { // By a reader who shares it: one more does not prolong its time.
		return
	}

	ticket.ready = true
	ticket.score = copied(score)
	ticket.until = time.Now().Add(ScoreTTL)
}

// drop forgets what is known of an agent and voids the tickets for it.
func (c *scoreCache) drop(agentID string) {
	c.mu.Lock()
	defer c.mu.Unlock()

	c.entries.Remove(agentID)
}
