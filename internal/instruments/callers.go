package instruments

import "context"

// How a sign-in ended.
const (
	SignedIn          = "signed_in"
	SignInRefused     = "refused"
	SignInNotListed   = "not_listed"
	SignInUnavailable = "unavailable"
)

// The limits that a request may be over.
const (
	LimitRequests = "requests"
	LimitNonces   = "nonces"
)

func (b *builder) callers(i *Instruments) {
	i.refusals = b.tally("dixie.ratelimit.refusals", "{request}", "Requests over the limit.",
		keys{"limit"}, single(LimitRequests, LimitNonces)...)
	i.fallbacks = b.counter("dixie.ratelimit.fallbacks", "{request}", "Requests that this process counted by itself, because the shared limiter failed.")
	if i.fallbacks != nil {
		i.fallbacks.Add(context.Background(), 0)
	}
	i.signIns = b.tally("dixie.auth.sign_ins", "{attempt}", "Signed messages, by what became of them.",
		keys{outcomeKey}, single(SignedIn, SignInRefused, SignInNotListed, SignInUnavailable)...)
	i.streams = b.upDown("dixie.chat.active_streams", "{stream}", "Chat answers that are being streamed.")
	i.sockets = b.upDown("dixie.chat.active_sockets", "{socket}", "WebSockets that watch a session.")
}

// LimitExceeded counts a request over a limit.
func (i *Instruments) LimitExceeded(ctx context.Context, limit string) {
	if i != nil {
		i.refusals.add(ctx, 1, pair{limit})
	}
}

// LimiterFellBack counts a request for which the shared limiter failed.
func (i *Instruments) LimiterFellBack(ctx context.Context) {
	if i != nil {
		i.fallbacks.Add(ctx, 1)
	}
}

// SignInEnded counts a signed message.
func (i *Instruments) SignInEnded(ctx context.Context, outcome string) {
	if i != nil {
		i.signIns.add(ctx, 1, pair{outcome})
	}
}

// StreamOpened counts a stream until it is closed.
func (i *Instruments) StreamOpened(ctx context.Context) {
	if i != nil {
		i.streams.Add(ctx, 1)
	}
}

// StreamClosed is the end of a stream.
func (i *Instruments) StreamClosed(ctx context.Context) {
	if i != nil {
		i.streams.Add(ctx, -1)
	}
}

// SocketOpened counts a socket until it is closed.
func (i *Instruments) SocketOpened(ctx context.Context) {
	if i != nil {
		i.sockets.Add(ctx, 1)
	}
}

// SocketClosed is the end of a socket.
func (i *Instruments) SocketClosed(ctx context.Context) {
	if i != nil {
		i.sockets.Add(ctx, -1)
	}
}
