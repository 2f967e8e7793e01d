package spansanitizer

// The fast way and the slow one, which must agree.
//
//nolint:gochecknoglobals // The usual way to export to tests.
var (
	IsPlainText = isPlainText
	MaskText    = maskText
)
