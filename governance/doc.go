// Package governance says what a wallet may do: its conviction tier, how the tier is found and how far
// it is from the one that a route needs, what a task costs, and whether it is admitted.
//
// Tiers, costs and verdicts are values without I/O. A [Policy] is a list of witnesses that judge a
// [Request] against a [Snapshot] of what was counted; taking the snapshot and committing what follows
// from the decision, in one step, is the work of the store that asks. Only a [Resolver] talks to anybody,
// and it cannot fail. [Policy], [Resolver] and [MemoryTierCache] are safe for concurrent use.
package governance
