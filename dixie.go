package dixie

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"dixie/finn"
	"dixie/finn/localfinn"
	"dixie/fleet"
	"dixie/fleet/finnrunner"
	fleetmemory "dixie/fleet/memory"
	"dixie/governance"
	"dixie/internal/admission"
	"dixie/internal/auth"
	"dixie/internal/chat"
	"dixie/internal/contextlog"
	"dixie/internal/httpapi"
	"dixie/internal/instruments"
	"dixie/reputation"
	reputationmemory "dixie/reputation/memory"
)

// Version is the version of the module and of the service.
const Version = "0.1.0"

// Handler is the governed backend-for-frontend. It is an http.Handler, safe for concurrent use, and
// independent of every other Handler in the process. Make one with [New], end it with
// [Handler.Shutdown].
type Handler struct {
	api     *httpapi.API
	finnURL string

	// drain and stopTasks end what serves and what works; the closers come after both.
	drain, stopTasks func(context.Context) error
	closers          []closer // in the order in which they are closed

	shutdown sync.Once
	// patience ends when the context of somebody who waits in Shutdown ends.
	patience     context.Context //nolint:containedctx // It is the life of the shutdown, which several callers share.
	losePatience context.CancelCauseFunc
	closed       chan struct{}
	result       error // written before closed is closed
}

type closer struct {
	name  string
	close func(context.Context) error
}

// New builds a Handler: defaults, options, validation, and only then resources. When something is
// wrong it starts nothing and returns every problem at once ([errors.Join]). A nil pointer in the place of a store or of
// another part is a problem, also of a type whose methods would take it.
//
// In [Staging] and in [Production], which is the default, these are required: [AuthConfig].TokenSecret and
// Origins, an allowlist, the URL of Finn, and stores that outlive the process for chat sessions, tasks and
// reputation, such as those of dixie/chat/postgres, dixie/fleet/postgres and dixie/reputation/postgres.
// In [Development] and [Test] what is missing is filled in.
//
// The Handler serves /, /livez, /readyz, /api/... and /ws/chat/...; [OpenAPI] describes each route. Every answer has
// headers of security, of which Strict-Transport-Security holds for a year and for all subdomains of the host's name.
func New(opts ...Option) (*Handler, error) {
	s := &settings{environment: Production}
	var problems []error
	for i, opt := range opts {
		if opt == nil {
			problems = append(problems, fmt.Errorf("option %d is nil", i+1))
			continue
		}
		if err := opt(s); err != nil {
			problems = append(problems, err)
		}
	}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	s.logger = slog.New(LogHandler(s.logger.Handler()))
	if s.finn.Logger == nil {
		s.finn.Logger = s.logger // Its lines name the service that they are about.
	} else {
		s.finn.Logger = slog.New(LogHandler(s.finn.Logger.Handler()))
	}
	s.logger = s.logger.With("service", httpapi.ServiceName)
	if err := errors.Join(append(problems, s.complete()...)...); err != nil {
		return nil, fmt.Errorf("dixie: %w", err)
	}
	nothing := func(context.Context) error { return nil }
	h := &Handler{drain: nothing, stopTasks: nothing, closed: make(chan struct{})}
	h.patience, h.losePatience = context.WithCancelCause(context.Background())
	if err := h.assemble(s); err != nil {
		return nil, errors.Join(fmt.Errorf("dixie: %w", err), h.Shutdown(context.Background()))
	}
	return h, nil
}

// LogHandler adds to each line that is logged in the context of a request its request_id and, in a trace, its
// trace_id. [New] does so for the loggers of [WithLogger] and [WithFinn]; it is for what logs beside it, such as the stores.
// Wrapping twice changes nothing.
func LogHandler(next slog.Handler) slog.Handler { return contextlog.New(next, httpapi.RequestIDFrom) }

// complete fills in what the environment allows and returns what is missing or wrong.
func (s *settings) complete() []error {
	var problems []error
	relaxed := s.environment.relaxed()
	missing := func(what, option string) { problems = append(problems, s.missing(what, option)) }
	filled := s.warnDefault

	switch {
	case len(s.auth.TokenSecret) > 0:
	case relaxed:
		s.auth.TokenSecret = []byte(rand.Text() + rand.Text())
		filled("random token secret: tokens do not survive a restart")
	default:
		missing("a token secret", "WithAuth")
	}
	if len(s.auth.Origins) == 0 {
		if relaxed {
			s.auth.Origins = []string{DefaultOrigin, "http://127.0.0.1:3001"}
		} else {
			missing("an origin", "WithAuth")
		}
	}
	for _, origin := range s.auth.Origins {
		if _, err := auth.ParseOrigin(origin); err != nil {
			problems = append(problems, fmt.Errorf("WithAuth: %w", err))
		}
	}
	if s.allowlist == nil && s.ownAllowlist == nil {
		if relaxed {
			s.allowlist = auth.NewOpenAllowlist()
			filled("every wallet that signs in is admitted")
		} else {
			missing("an allowlist", "WithAllowlist or WithAllowlistFile")
		}
	}
	if s.finn.URL == "" && !relaxed {
		missing("the URL of Finn", "WithFinn")
	}
	problems = append(problems, s.stores()...)
	if s.rate.PerMinute == 0 {
		s.rate.PerMinute = DefaultRatePerMinute
	}
	return append(problems, s.check()...)
}

func (s *settings) missing(what, option string) error {
	return fmt.Errorf("%s is required in %s: use %s, or WithEnvironment(dixie.Development) to try dixie out",
		what, s.environment, option)
}

func (s *settings) warnDefault(text string) {
	s.logger.Warn("development default in use", "default", text)
}

// stores fills in or asks for what must outlive the process outside of development and test.
func (s *settings) stores() []error {
	return slices.DeleteFunc([]error{
		fillStore(s, &s.chat.Sessions, "chat sessions", "WithChat", func() SessionStore { return chat.NewMemorySessions(0) }),
		fillStore(s, &s.fleet.Store, "fleet tasks", "WithFleet", func() fleet.Store { return fleetmemory.New(fleetmemory.Config{}) }),
		fillStore(s, &s.reputation.Store, "reputation", "WithReputation", func() reputation.Store { return reputationmemory.New(0) }),
	}, func(err error) bool { return err == nil })
}

// fillStore puts a store in memory where none is given, if the environment allows that. Elsewhere a
// store is required, and one that forgets everything when the process ends is refused.
func fillStore[S comparable](s *settings, store *S, holds, option string, inMemory func() S) error {
	var none S
	switch {
	case *store == none && s.environment.relaxed():
		*store = inMemory()
		s.warnDefault(holds + " in memory")
	case *store == none:
		return s.missing("a store for "+holds, option)
	case isNil(*store): // The check of all that options hold reports it.
	case isEphemeral(*store) && !s.environment.relaxed():
		return fmt.Errorf("%s: a store for %s in memory is not allowed in %s: it forgets everything when the process ends",
			option, holds, s.environment)
	}
	return nil
}

// isEphemeral says whether a store forgets everything when the process ends.
func isEphemeral(store any) bool {
	e, ok := store.(interface{ Ephemeral() bool })
	return ok && e.Ephemeral()
}

// DefaultOrigin is an origin in development and test when none is given; the same with 127.0.0.1 is the other.
const DefaultOrigin = "http://localhost:3001"

// policy is what admits tasks.
func (s *settings) policy() (*governance.Policy, error) {
	budget := s.governance.BudgetMicroUSD
	switch budget {
	case 0:
		budget = DefaultBudgetMicroUSD
	case -1:
		budget = 0
	}
	return governance.NewPolicy(governance.PolicyConfig{BudgetMicroUSD: budget, Witnesses: s.governance.Witnesses})
}

func (s *settings) fleetConfig(policy *governance.Policy) fleet.Config {
	return fleet.Config{
		Store: s.fleet.Store, Runner: s.fleet.Runner, Policy: admission.New(policy), Catalog: s.fleet.Catalog,
		Logger: s.logger, Workers: s.fleet.Workers, OnEvent: s.fleet.OnEvent, Tracer: s.tracer,
	}
}

func (h *Handler) assemble(s *settings) error {
	if s.finn.URL == "" {
		local, err := localfinn.Start(localfinn.Config{Token: s.finn.Token, WordDelay: localWordDelay, Logger: s.logger})
		if err != nil {
			return err
		}
		s.finn.URL, s.finn.WebSocketURL = local.URL(), ""
		h.onShutdown("local finn", local.Close)
		s.logger.Warn("development default in use", "default", "in-process Finn", "url", local.URL())
	}
	h.finnURL = s.finn.URL
	if s.tracer.Enabled() {
		s.finn.Tracer = s.tracer
	}
	measured, err := instruments.New(s.metrics)
	if err != nil {
		return fmt.Errorf("WithMetrics: %w", err)
	}
	s.measureFinn(measured)
	client, err := finn.New(s.finn)
	if err != nil {
		return err
	}
	h.onShutdown("finn client", func(context.Context) error { return client.Close() })

	allowlist := s.allowlist
	if s.ownAllowlist != nil {
		if allowlist, err = s.ownAllowlist(s.logger); err != nil {
			return err
		}
		h.onShutdown("allowlist", func(context.Context) error { return allowlist.Close() })
	}
	cfg := httpapi.Config{
		Version: Version, Logger: s.logger, Origins: s.auth.Origins, AdminKey: s.auth.AdminKey,
		RatePerMinute: max(0, s.rate.PerMinute), Limiter: s.rate.Limiter, TrustedProxies: s.rate.TrustedProxies,
		Allowlist: allowlist, Audit: auth.NewAudit(s.logger, s.tracePolicy.Hash), Finn: client,
		Dependencies: s.dependencies, Payment: s.payment, Tracer: s.tracer, OpenAPI: OpenAPI(), Metrics: measured,
		MetricsPage: s.metricsPage,
	}
	if err := s.signIn(&cfg); err != nil {
		return err
	}
	cfg.Tiers = s.tiers(client, allowlist)
	cfg.Chat, err = chat.New(chat.Config{
		Finn: client, Sessions: s.chat.Sessions, Locks: s.chat.Lock, Relay: s.chat.Relay,
		Logger: s.logger, OnInteraction: s.chat.OnInteraction,
	})
	if err != nil {
		return err
	}
	h.onShutdown("chat", func(context.Context) error { return cfg.Chat.Close() })
	if cfg.Fleet, err = h.startFleet(s, client, measured); err != nil {
		return err
	}
	cfg.Reputation = reputation.NewService(s.reputation.Store, reputation.Config{
		CommitTimeout: s.reputation.CommitTimeout, Logger: s.logger, Tracer: s.tracer, OnBatch: countBatches(measured),
	})
	h.onShutdown("reputation", cfg.Reputation.Close)
	h.api = httpapi.New(cfg)
	h.drain = h.api.Drain
	return h.observe(measured, client, cfg.Fleet)
}

func (h *Handler) startFleet(s *settings, client *finn.Client, measured *instruments.Instruments) (*fleet.Service, error) {
	policy, err := s.policy()
	if err != nil {
		return nil, err
	}
	cfg := s.fleetConfig(policy)
	cfg.Count = countTasks(measured)
	if cfg.Runner == nil {
		if cfg.Runner, err = finnrunner.New(client); err != nil {
			return nil, err
		}
	}
	service, err := fleet.New(cfg)
	if err != nil {
		return nil, err
	}
	h.stopTasks = service.Close
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	err = service.Start(ctx)
	return service, err
}

// startTimeout is how long a store has to begin handing out tasks.
const startTimeout = 30 * time.Second

// localWordDelay makes the in-process Finn speak at a pace at which a person sees the words come.
const localWordDelay = 40 * time.Millisecond

func (s *settings) signIn(cfg *httpapi.Config) error {
	nonces, tickets := s.auth.Nonces, s.auth.Tickets
	if nonces == nil {
		nonces = auth.NewMemoryNonces(0)
	}
	if tickets == nil {
		tickets = auth.NewMemoryTickets()
	}
	var err error
	cfg.Tickets = auth.NewTickets(tickets)
	if cfg.Tokens, err = auth.NewHS256(s.auth.TokenSecret); err != nil {
		return err
	}
	cfg.SignIn, err = auth.NewSIWE(auth.SIWEConfig{Origins: s.auth.Origins, ChainIDs: s.auth.ChainIDs}, nonces)
	return err
}

func (s *settings) tiers(client *finn.Client, allowlist Allowlist) *governance.Resolver {
	stakes := s.governance.Stakes
	if stakes == nil {
		stakes = client
	}
	return governance.NewResolver(governance.ResolverConfig{
		Stakes: stakes, Cache: s.governance.TierCache, Allowlisted: allowlist.AllowsWallet,
		Admins: s.governance.Admins, TTL: s.governance.TierTTL,
	})
}

// onShutdown puts a resource in front of those it may use.
func (h *Handler) onShutdown(name string, f func(context.Context) error) {
	h.closers = append([]closer{{name, f}}, h.closers...)
}

// ServeHTTP answers one request. Whoever wraps the ResponseWriter gives it an Unwrap method, as
// [http.ResponseController] wants it: without, a stream is held back until its end, limits of a server's own for writing
// cut it, and a WebSocket is refused. [http.TimeoutHandler] has none.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.api.ServeHTTP(w, r) }

// FinnURL is the base of the Finn in use, which in development may be one in this process.
func (h *Handler) FinnURL() string { return h.finnURL }

// Shutdown refuses new requests, lets running ones end, streams and WebSockets included, stops the tasks
// that run here, and then closes what New opened. When ctx ends first, what still runs is cut off, has
// two seconds to clean up, and the error says what it was. Call http.Server.Shutdown beside it, which
// stops listening, and wait for both before the process ends: when Shutdown returns, answers are made, but
// net/http, and what is wrapped around the Handler, may still be sending them. Shutdown may be called
// again, also while it runs: every call returns the same result, and the first context to end cuts off
// what still runs.
func (h *Handler) Shutdown(ctx context.Context) error {
	h.shutdown.Do(func() { go h.close() }) //nolint:contextcheck // It outlives this caller.
	stop := context.AfterFunc(ctx, func() { h.losePatience(context.Cause(ctx)) })
	defer stop()
	<-h.closed
	return h.result
}

// cleanupTime is what is left for cleaning up when patience has ended.
const cleanupTime = 2 * time.Second

// close runs once.
func (h *Handler) close() {
	defer close(h.closed)
	ctx, cancel := outlasting(h.patience, cleanupTime)
	defer cancel()
	var problems []error
	report := func(name string, err error) {
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", name, err))
		}
	}
	// Tasks do not wait for requests, nor the other way round: each has all the time there is.
	drained := make(chan error, 1)
	go func() { drained <- h.drain(h.patience) }()
	stopped := h.stopTasks(ctx)
	report("requests", <-drained)
	report("tasks", stopped)
	for _, c := range h.closers {
		report(c.name, c.close(ctx))
	}
	h.result = errors.Join(problems...)
}

// outlasting returns a context that ends some time after ctx.
func outlasting(ctx context.Context, extra time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		time.AfterFunc(extra, func() { cancel(context.Cause(ctx)) })
	})
	return longer, func() {
		stop()
		cancel(nil)
	}
}
