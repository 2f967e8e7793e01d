package auth

// MaxKnownTokens is how many tokens an [HS256] knows.
const MaxKnownTokens = maxKnown

// KnownTokens is how many it knows now.
func (h *HS256) KnownTokens() int { return h.known.Len() }

// Len is the number of decisions in memory.
func (a *Audit) Len() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.entries)
}

// Len is the number of unused nonces.
func (m *MemoryNonces) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.unused.Len()
}
