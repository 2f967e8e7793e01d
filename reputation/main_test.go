package reputation_test

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// near is the tolerance of numbers that were worked out elsewhere.
func near(a, b float64) bool { return math.Abs(a-b) <= 1e-12 }

// bits compares floats by their bits.
func bits() cmp.Option {
	return cmp.Comparer(func(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) })
}
