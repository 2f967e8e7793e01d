package migrate

// Lock is lock, for tests that look at the very session that waited.
var Lock = lock //nolint:gochecknoglobals // The usual way to export to tests.
