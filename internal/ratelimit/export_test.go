package ratelimit

// Identities is how many identities are tracked now.
func (m *Memory) Identities() int {
	n := 0
	for i := range m.shards {
		m.shards[i].mu.Lock()
		n += len(m.shards[i].buckets)
		m.shards[i].mu.Unlock()
	}
	return n
}
