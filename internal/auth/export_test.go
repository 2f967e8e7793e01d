package auth

// MaxKnownTokens is how many tokens an [HS256] knows.
const MaxKnownTokens = maxKnown

// KnownTokens is how many it knows now.
func (h *HS256) KnownTokens() int { return h.known.Len() }
