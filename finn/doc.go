// Package finn is the typed client of Finn, the AI inference backend that
// dixie stands in front of: sessions and whole turns over HTTP, streamed turns
// over a WebSocket, look-ups and a health probe, all behind one circuit
// breaker and with a time limit for every kind of call. A [Client] is safe for
// concurrent use and owns its connections until [Client.Close]. Nothing that
// Finn says about a failure leaves the package: an [Error] carries a code in
// capitals, a status and a sentinel to test with [errors.Is].
//
// # Circuit breaker
//
// The breaker opens after [FailureThreshold] failures in a row and lets one
// probe through [OpenPeriod] later. A pause of more than [FailureGap] between
// the end of one failure and the start of the next failing call restarts the
// count; the length of the calls themselves does not, so a Finn that hangs
// until every call times out opens it too. What a call says about Finn:
//
//   - failure: a transport error, an answer with status 5xx (except
//     SESSION_CREATE_FAILED, which tells of a full Finn), and a time limit of
//     the client that runs out, be it on an answer that trickles;
//   - success: every other answer, 4xx and 429 included;
//   - nothing: a call that its caller cancelled, and a streamed turn that was
//     cut by its time limit although Finn had spoken within the last control
//     time limit (a long answer, or a consumer that reads slowly, is not Finn's
//     fault).
//
// A deadline of the caller's context may leave Finn less time than its work
// takes, because the caller has waited for something else before. It is a
// failure only when Finn had been silent for long, and says nothing otherwise:
// in a turn for the idle limit, or the turn time limit if that is shorter, and
// in any other call, the opening of a stream included, for the control time
// limit. An answer that comes over HTTP is silence until it is whole.
//
// A streamed turn that is the probe of a half-open breaker succeeds with its
// first event and gives its permit back there. In a closed breaker, where
// permits are not scarce, the end of the stream decides, so that connections
// that break in the middle of turns are counted as well.
//
// Look-ups ([Client.Staked]) and [Client.Health] neither ask the breaker nor
// tell it anything.
//
// # Rate limit
//
// Finn's rate limit is meant for all users together. After an answer 429 that
// says how long to wait, calls about sessions and turns are held for that long,
// [MaxHold] at most: they fail at once with [ErrRateLimited],
// [CodeRateLimitHold] and the rest of the wait as RetryAfter, and neither Finn
// nor the breaker hears of them. A 429 that does not say how long holds nothing.
//
// Look-ups and [Client.Health] are not held, and a 429 to one of them holds
// nothing: who asks has something to fall back on, is meant to ask rarely, and
// the limit may be of whatever serves the look-up.
package finn
