package chat

import "time"

// workerIdle is how long a worker waits for more to do.
const workerIdle = time.Second

// spawn runs f on a goroutine that Close waits for, unless the service is closed. It never waits: when no worker
// is free, there is one more.
func (s *Service) spawn(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	select {
	case s.work <- f:
	default:
		s.background.Go(func() { s.worker(f) })
	}
	return true
}

// worker runs f and then whatever else comes, until it has been idle for a while. A goroutine starts with a small
// stack, which a request to Finn outgrows several times: one that lingers has that behind it.
func (s *Service) worker(f func()) {
	idle := time.NewTimer(workerIdle)
	defer idle.Stop()
	for {
		f()
		idle.Reset(workerIdle)
		select {
		case f = <-s.work:
		case <-idle.C:
			return
		case <-s.life.Done():
			return
		}
	}
}
