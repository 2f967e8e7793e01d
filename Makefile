# Short names for the commands of daily work. The gate itself is .ci/run.
.PHONY: run test e2e race lint fmt fuzz bench vuln ci

run: ## Start the server on loopback with nothing configured.
	go run ./examples/staging-server

test:
	go test ./...

e2e: ## The scenarios of a staging environment, against DIXIE_E2E_URL or, without it, a stack of processes.
	go test ./e2e -count=1 -timeout=30m -v

race:
	.ci/run race

lint:
	.ci/run format vet tidy lint

fmt:
	golangci-lint fmt ./...

fuzz:
	.ci/run fuzz

bench:
	go test -run='^$$' -bench=. -benchmem ./...

vuln:
	.ci/run vuln

ci:
	.ci/run
