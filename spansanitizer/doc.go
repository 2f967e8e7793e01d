// Package spansanitizer decides what a trace may say, and is the only way in which this module starts spans.
//
// There are six kinds of span, each with a short list of attributes, and each attribute has a type and a
// vocabulary, range or exact shape. What is not on the list is left out; a text outside its vocabulary
// becomes "other"; a span of another name keeps nothing, not even its name. (A seventh, of the local Finn,
// has a name and keeps nothing else.) Wallets and operators appear as
// a [Hash] only. Error texts lose what looks like an address, a key, a token, an e-mail address or a
// quotation (see [ErrorText]).
//
// The rules are those of one value, a [Policy], and are applied twice: by the [Span] that [StartSpan]
// returns, and by the exporter of package telemetry, which applies them to whatever is about to leave.
// Applying them again changes nothing. No value makes them panic.
//
// With a zero [Tracer] nothing is recorded and nothing allocated. The package needs the OpenTelemetry API
// only. Everything in it is safe for concurrent use.
package spansanitizer
