// Package proxybench measures what dixie costs between a client and Finn, against a bare reverse proxy and one
// written by hand, and checks that streamed answers arrive whole. It holds nothing but tests.
//
// # What is compared
//
// Each of these is a process of its own, the test binary started again, so that its time and memory can be told
// from the others':
//
//	finn         finn/localfinn without delays
//	bare         httputil.NewSingleHostReverseProxy with a tuned transport
//	pooled       the same with a BufferPool: without one, bare allocates 32 KiB for an answer
//	handwritten  bare with a token check, a rate limit and an access log, in a page of code
//	dixie        dixie.New: token, allowlist, rate limit, tier, session owner, turn lock, breaker, access log
//	observed     the same with every request traced, in batches up to the bytes of OTLP, and all metrics
//
// The test process is the client: 32 keep-alive connections, each with chat sessions of its own, since dixie keeps
// the turns of a session in line. Every answer is checked for its status and its whole text. The logs are written to
// the null device, which costs a system call for a line.
//
// # How to measure
//
//	go test ./internal/proxybench -run '^$' -bench ChatProxy -benchtime 50000x
//
// Each of the others is measured in twenty rounds that alternate with bare, so that noise of a shared machine meets
// both. The metrics of a line:
//
//	req/s              requests a second, the median of the rounds
//	cpu-us/req         processor time of the proxy's process for a request, all rounds together
//	others-cpu-us/req  the same of the client and Finn, which share the machine
//	peak-MB            the most memory that was resident, from its start on
//	req/s-of-bare      throughput as a share of bare's, the median of the rounds
//	cpu-of-bare        processor time as a multiple of bare's
//	capacity-of-bare   the share that follows from the processor times, when every processor is busy with these
//	                   processes: it hardly depends on who else uses the machine
//
// Processor time and memory are read from /proc; without it, those metrics are left out. Client, proxy and Finn share
// the processors, so throughput differs less than the proxies' processor time does, and only numbers of one run can
// be compared. All roles are the same binary: the memory of each includes what dixie links.
//
// With -profiles DIR each process leaves ROLE.cpu.pprof and ROLE.allocs.pprof there.
//
// # Streams
//
//	go test ./internal/proxybench -v -run TestStreamedAnswersAreWhole -streams 100000 -timeout 30m
//
// runs that many streamed turns and verifies each to the last byte; without the flag there are 300.
package proxybench
