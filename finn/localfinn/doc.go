// Package localfinn is a small Finn that really runs: the routes and the
// WebSocket of the wire protocol that [dixie/finn] speaks, answering from a
// [Responder]. The built-in one, [Echo], repeats the prompt and obeys a few
// directives, so that everything around a model can be tried without one. A
// [Server] is an http.Handler for use in any server and is safe for concurrent
// use; [Start] puts one on a free loopback port. Whoever makes either closes it.
//
// # Directives
//
// In a prompt for [Echo], in the order in which they stand:
//
//	[[sleep 5s]]   work that long before going on (10 minutes in all at most)
//	[[tool NAME]]  call a tool, with a result
//	[[words N]]    answer with N words (10000 at most) instead of the prompt
//	[[fail]]       let the model fail here
//
// # Differences from the full Finn
//
//   - Text comes word by word where the full one sends a block at its end.
//   - A model that fails is told of: an error event on the sockets and 500
//     PROMPT_FAILED, where the full one gives an empty answer.
//   - A turn that takes longer than Config.TurnTimeout counts as one whose model
//     failed.
//   - Errors have fixed texts, and the state of a session shows none of the
//     agent's inner state.
//   - The hundred and first session drops the least recently active one that
//     has neither a turn running nor a socket; the full one refuses.
//   - A dropped session comes back without its history.
//   - A session id that is not 1 to 128 letters, digits, underscores and hyphens
//     is unknown; the full one makes a session of it, or crashes.
//   - Results of tools that run in parallel stay with their calls.
//   - A prompt over HTTP whose client goes away is aborted.
//   - Web pages of other origins are refused.
//
// Not served, with 404: oracle, identity, conviction, memory, and whatever else
// the full Finn may be built with.
package localfinn
