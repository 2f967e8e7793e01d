// Package e2e tries a running dixie from the outside: its tests are the scenarios that a staging
// environment must pass, and its helpers wait for a service, speak to it and sign wallets in.
//
//	make e2e                                 # starts a stack of processes, tries it and takes it away
//	DIXIE_E2E_URL=... DIXIE_E2E_ADMIN_KEY=... DIXIE_E2E_RESTART='...' make e2e
//
// The scenarios need a base URL and the admin key, and nothing inside of the service:
//
//	DIXIE_E2E_URL        where dixie is, such as http://localhost:3001; empty: the tests start a stack
//	DIXIE_E2E_ADMIN_KEY  puts the wallets of a run on the allowlist and takes them off again, and reads /metrics
//	DIXIE_E2E_RESTART    a shell command that restarts dixie, which runs in the folder e2e, such as
//	                     docker compose -f ../deploy/docker-compose.staging.yml restart dixie-bff;
//	                     /metrics must tell of another process afterwards
//	DIXIE_E2E_ORIGIN     the site that people sign in from, when it is not the URL
//	DIXIE_E2E_LOGS       a shell command that prints the end of dixie's log, for when something fails
//	DIXIE_E2E_TEMPO_URL  where Tempo answers queries, for the scenario about traces
//
// Without DIXIE_E2E_URL a test run starts PostgreSQL, Redis, NATS, a local Finn and dixie once, as
// processes on loopback ports, and leaves neither process nor folder behind. Where PostgreSQL or Redis are not
// installed the scenarios are skipped with the reason, or fail when DIXIE_TEST_REQUIRE lists them, as make e2e has it.
//
// A run that is interrupted, by SIGINT or SIGTERM, or comes near its -timeout takes away what it has put in first:
// wallets from the allowlist, tasks, and its own stack. A second signal ends it at once. What cannot be taken away is named.
//
// Any Finn will do: it is asked for a word that is in no prompt, two halves that the local Finn joins by what it does with
// directives, and a model because it is told to.
//
// Every run uses wallets, agents and words of its own, so that runs may follow one another on one
// service. A 429 is waited out as its Retry-After says. One suite at a time: it restarts the service.
package e2e
