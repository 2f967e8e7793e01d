// Package redis keeps in Redis what the replicas of a service share and may lose: sign-in nonces,
// WebSocket tickets, rate limits, cached tiers, and the lock that lets a chat session have one turn at a
// time. Every key has an expiry, so an emptied or restarted server costs a repeated sign-in and no more.
// A [Relay] carries the events of chat turns between replicas.
//
//	client, err := redis.Open(redis.Config{URL: "redis://localhost:6379/0"})
//	...
//	defer client.Close()
//	nonces := redis.NewNonces(client)
//
// The stores take a client and never close it. They need Redis 6.2 or a server that is compatible with
// it. Times are the server's, as the clocks of replicas differ.
//
// Redis Cluster is not supported: the scripts of [Tickets] use two keys of different slots, and that of
// [RateLimiter] makes the name of its key from the server's time; and the [Relay] counts on one server.
//
// # The relay
//
// A [Relay] has a connection and goroutines of its own. It is closed after the handler that uses it, and
// before its client:
//
//	relay := redis.NewRelay(client, logger)
//	defer client.Close()
//	defer relay.Close()
//
// Pub/Sub belongs to the server, not to one of its databases: deployments that share a server hear each
// other's channels, chat:watch and chat:events:*, and so learn ids of each other's sessions. With access
// lists the user needs &chat:* as well.
//
// # When Redis is away
//
// A call on a client of [Open] fails within a second, and at once after a few have failed. A nonce or a
// ticket must be certain, so these stores return the error; what to do about an error of the [RateLimiter]
// or the [TierCache] is their caller's choice. The [TurnLock] falls back to the process, and so does the [Relay].
//
// # Log of go-redis
//
// The library go-redis writes to a logger of the whole process, by default on standard error. This package
// leaves that logger alone: it belongs to the program, which may have other clients. A main function hands
// it over by
//
//	goredis.SetLogger(redis.NewLibraryLog(logger))
//
// [Open] switches off, or goes around, what makes the library write there when a server is away or old.
package redis
