package reputation

import "time"

// State says how much evidence stands behind a score.
type State string

// The states, in the only order in which an aggregate goes through them.
const (
	// Cold: no sample yet, so no score.
	Cold State = "cold"
	// Warming: samples, but fewer than [MinSampleCount].
	Warming State = "warming"
	// Established: [MinSampleCount] samples at least.
	Established State = "established"
	// Authoritative: the agent's own samples are more than 0.9 of its score.
	Authoritative State = "authoritative"
)

// Transition is one move of an aggregate from a state to the next.
type Transition struct {
	From State `json:"from"`
	To   State `json:"to"`
	// At is when the event that caused the move was recorded.
	At time.Time `json:"at"`
	// Trigger says what caused the move: first_sample, min_sample_count or
	// personal_weight.
	Trigger string `json:"trigger"`
}

// CanMove reports whether a state may follow another. Besides the moves upwards,
// every state may be reset to cold.
func CanMove(from, to State) bool {
	switch to {
	case Warming:
		return from == Cold
	case Established:
		return from == Warming
	case Authoritative:
		return from == Established
	case Cold:
		return from == Warming || from == Established || from == Authoritative
	default:
		return false
	}
}

// advance returns the state that n samples lead to next, and by which trigger; the
// same state if they lead nowhere.
func advance(from State, n int) (to State, trigger string) {
	switch {
	case from == Cold && n >= 1:
		return Warming, "first_sample"
	case from == Warming && n >= MinSampleCount:
		return Established, "min_sample_count"
	case from == Established && PersonalWeight(n) > authoritativeWeight:
		return Authoritative, "personal_weight"
	default:
		return from, ""
	}
}
