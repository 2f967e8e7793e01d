// Package dixie is a governed backend-for-frontend in front of Finn, an AI inference backend, as an
// http.Handler: people sign in with their Ethereum wallet (EIP-4361) and get a token, chat through a
// circuit breaker, with JSON, server-sent events or a WebSocket, and spawn tasks that agents do for them,
// within the limits and budgets that governance sets; what is observed of an agent's work becomes its
// reputation.
//
//	h, err := dixie.New(dixie.WithEnvironment(dixie.Development))
//	if err != nil {
//		return err
//	}
//	server := &http.Server{Addr: "127.0.0.1:3001", Handler: h, ReadHeaderTimeout: 10 * time.Second}
//	sent := make(chan error, 1)
//	context.AfterFunc(ctx, func() { sent <- server.Shutdown(context.Background()) })
//	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
//		return errors.Join(err, h.Shutdown(context.Background()))
//	}
//	return errors.Join(h.Shutdown(context.Background()), <-sent)
//
// A request goes one way: middleware, handler, service, a pure decision inside an atomic store, answer.
// Sub-packages:
//
//   - finn is the client of Finn, finn/localfinn a small Finn for development and tests, which
//     finn/localfinn/openairesponder has a model speak for;
//   - governance holds the tiers, how a wallet's tier is found, and the policy that admits tasks;
//   - fleet runs tasks, fleet/memory keeps them, fleet/finnrunner and fleet/processrunner do the work;
//   - reputation turns observations into scores, reputation/memory keeps them;
//   - reputation/postgres, fleet/postgres, chat/postgres and auth/postgres, the allowlist, are stores for
//     production, on a pool of package database and the schema of package migrate;
//   - redis holds what replicas share and may lose: nonces, tickets, rate limits, tiers, turns;
//   - signals tells other services by NATS what happened;
//   - telemetry sends spans and shows metrics, spansanitizer decides what spans may say.
//
// The conformance suites for stores of your own are fleet/fleettest, reputation/reputationtest and
// governance/governancetest.
//
// Several Handlers may live in one process; they share nothing.
package dixie
