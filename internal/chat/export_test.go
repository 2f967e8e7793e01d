package chat

// Crossing counts what a service has to do with other processes: turns that run, pumps and watches.
func (s *Service) Crossing() (turns, pumps, watches int) {
	s.bridge.mu.Lock()
	defer s.bridge.mu.Unlock()
	return len(s.bridge.turns), len(s.bridge.pumps), len(s.bridge.watches)
}
