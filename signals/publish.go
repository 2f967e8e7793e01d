package signals

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"dixie/fleet"
	"dixie/internal/chat"
)

// errAccountFull is an answer with the code of a bad request for something that passes.
const errAccountFull jetstream.ErrorCode = 10002

// Fleet publishes an event and returns nil once JetStream has stored it, so that it fits Publish of
// fleet/postgres, whose MessageID is the id: of calls with the same one within ten minutes JetStream
// keeps the first. With an empty id every call counts. An error says that it may not be stored, and to call
// again later; one that is [ErrRefused] needs something to be changed at the server. It waits for as long
// as ctx and [Config.AckWait] allow, and not at all while NATS is away.
func (p *Publisher) Fleet(ctx context.Context, messageID string, e fleet.Event) error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		p.fleetFailed.Add(1)
		return ErrClosed
	}
	p.calls.Add(1)
	p.mu.Unlock()
	defer p.calls.Done()
	err := p.fleetNow(ctx, messageID, e)
	if err != nil {
		p.fleetFailed.Add(1)
		return err
	}
	p.fleetPublished.Add(1)
	return nil
}

func (p *Publisher) fleetNow(ctx context.Context, messageID string, e fleet.Event) error {
	m, err := fleetMessage(ctx, e)
	if err != nil {
		return err
	}
	l := p.link.Load()
	if err := l.connected(); err != nil {
		return err
	}
	err = p.publish(ctx, l, messageID, m)
	if !errors.Is(err, jetstream.ErrNoStreamResponse) {
		return err
	}
	// Perhaps the stream was deleted.
	if lookErr := p.look(ctx, l); lookErr != nil {
		return errors.Join(err, lookErr)
	}
	return p.publishSeen(ctx, l, messageID, m)
}

// fleetMessage is what an event says.
func fleetMessage(ctx context.Context, e fleet.Event) (message, error) {
	subject, err := fleetSubject(e.Type)
	if err != nil {
		return message{}, err
	}
	body, err := fleetBody(e)
	return message{subject, body, eventTrace(ctx, e)}, err
}

// OfferFleet buffers an event and returns at once. It fits OnEvent of dixie.FleetConfig, for what the
// fleet's store does not publish itself.
func (p *Publisher) OfferFleet(ctx context.Context, e fleet.Event) {
	m, err := fleetMessage(ctx, e)
	p.offer(m, err)
}

// Interaction buffers the news of a chat turn that was answered and returns at once. It fits OnInteraction
// of dixie.ChatConfig. The signal belongs to the trace of ctx.
func (p *Publisher) Interaction(ctx context.Context, i chat.Interaction) {
	body, err := interactionBody(i)
	p.offer(message{interactionSubject, body, traceOf(ctx)}, err)
}

func (p *Publisher) offer(m message, err error) {
	if err != nil {
		p.queue.refuse()
		return
	}
	p.queue.push(m)
	// Also for one that was dropped: the worker tells of it.
	signalTo(p.news)
}

// publishBuffered publishes a signal of the queue, with the same id at each attempt.
func (p *Publisher) publishBuffered(ctx context.Context, l *link, s signal, streamSeen bool) error {
	id := p.prefix + strconv.FormatUint(s.number, 10)
	if streamSeen {
		return p.publishSeen(ctx, l, id, s.message)
	}
	return p.publish(ctx, l, id, s.message)
}

// publishSeen is publish right after the stream was seen: a subject that is not among its own stays
// without an answer.
func (p *Publisher) publishSeen(ctx context.Context, l *link, id string, m message) error {
	err := p.publish(ctx, l, id, m)
	if errors.Is(err, jetstream.ErrNoStreamResponse) && !p.stream.takes(m.subject) {
		return fmt.Errorf("%w: the stream does not take %s", ErrRefused, m.subject)
	}
	return err
}

// publish sends a signal once and waits until JetStream has stored it.
func (p *Publisher) publish(ctx context.Context, l *link, id string, m message) error {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.AckWait)
	defer cancel()
	msg := &nats.Msg{Subject: m.subject, Data: m.body, Header: nats.Header{}}
	if id != "" {
		msg.Header.Set(nats.MsgIdHdr, id)
	}
	if m.trace.parent != "" {
		msg.Header.Set(parentHeader, m.trace.parent)
	}
	if m.trace.state != "" {
		msg.Header.Set(stateHeader, m.trace.state)
	}
	err := p.request(ctx, l, m.subject, func(ctx context.Context) error {
		_, err := l.js.PublishMsg(ctx, msg, jetstream.WithRetryAttempts(0))
		return err //nolint:wrapcheck // It is, below.
	})
	switch {
	case err == nil:
		return nil
	case isRefusal(err):
		return fmt.Errorf("%w: publish %s: %w", ErrRefused, m.subject, err)
	default:
		return fmt.Errorf("signals: publish %s: %w", m.subject, err)
	}
}

// isRefusal tells errors that stay from those that pass.
func isRefusal(err error) bool {
	var answer *jetstream.APIError
	switch {
	case errors.Is(err, nats.ErrMaxPayload), errors.Is(err, nats.ErrPermissionViolation):
		return true
	case errors.As(err, &answer):
		return answer.Code == http.StatusBadRequest && answer.ErrorCode != errAccountFull
	default:
		return false
	}
}
