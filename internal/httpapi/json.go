package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"dixie/finn"
	"dixie/spansanitizer"
)

// maxDepth is how deep a body may nest. No body that is served nests deeper than five levels.
const maxDepth = 64

// decodeJSON reads the bounded body whole, before anything is answered, and decodes it into v.
// Fields that v does not have are ignored.
func decodeJSON(r *http.Request, v any) error { return decodeBody(r, v, false) }

// decodeOptionalJSON is decodeJSON for a body that may be absent, which leaves v as it is.
func decodeOptionalJSON(r *http.Request, v any) error { return decodeBody(r, v, true) }

func decodeBody(r *http.Request, v any, optional bool) error {
	body, err := readBody(r)
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return errTooLarge.because(err)
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return errTimeout.because(err)
		}
		return invalid("The body could not be read").because(err)
	}
	if optional && len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	return unmarshal(body, v)
}

// readBody is [io.ReadAll], but begins with room for the length that the client announces and for the end behind
// it. More than an ordinary prompt is not taken on trust: it gets its room as it comes.
func readBody(r *http.Request) ([]byte, error) {
	const unannounced, trusted = 512, 16 << 10
	size := int64(unannounced)
	if r.ContentLength >= 0 {
		size = min(r.ContentLength, trusted) + 1
	}
	body := make([]byte, 0, size)
	for {
		if len(body) == cap(body) {
			body = append(body, 0)[:len(body)]
		}
		n, err := r.Body.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if err == io.EOF {
			return body, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// unmarshal decodes hostile bytes: valid UTF-8, one value, bounded nesting. Errors are safe to show.
func unmarshal(body []byte, v any) error {
	if !utf8.Valid(body) {
		return invalid("The body is not valid UTF-8")
	}
	if depthExceeds(body, maxDepth) {
		return invalid("The body nests deeper than %d levels", maxDepth)
	}
	err := json.Unmarshal(body, v)
	if err == nil {
		return nil
	}
	var wrongType *json.UnmarshalTypeError
	if errors.As(err, &wrongType) && wrongType.Field != "" {
		return invalid("%s has the wrong type or is out of range", safeName(wrongType.Field)).because(err)
	}
	return invalid("The body is not the JSON that this route takes").because(err)
}

// safeName keeps a field name from a body short and plain.
func safeName(s string) string {
	const longest = 64
	if len(s) > longest {
		s = s[:longest]
	}
	return strings.Map(func(r rune) rune {
		if r == '.' || r == '_' || r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '?'
	}, s)
}

// depthExceeds counts brackets outside strings; it need not be exact for text that is not JSON.
func depthExceeds(body []byte, limit int) bool {
	depth, inString := 0, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			depth++
			if depth > limit {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

// buffers recycles the memory of answers; large ones are not kept.
type buffers struct{ pool sync.Pool }

const largestPooled = 64 << 10

func (b *buffers) get() *bytes.Buffer {
	if buf, ok := b.pool.Get().(*bytes.Buffer); ok {
		buf.Reset()
		return buf
	}
	return new(bytes.Buffer)
}

func (b *buffers) put(buf *bytes.Buffer) {
	if buf.Cap() <= largestPooled {
		b.pool.Put(buf)
	}
}

// writeJSON encodes before it writes, so that a failure to encode is still a clean 500.
func (a *API) writeJSON(w http.ResponseWriter, status int, v any) error {
	buf := a.buffers.get()
	defer a.buffers.put(buf)
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("encode %T: %w", v, err)
	}
	h := w.Header()
	h["Content-Type"] = []string{"application/json; charset=utf-8"}
	h["Content-Length"] = []string{strconv.Itoa(buf.Len())}
	w.WriteHeader(status)
	_, err := w.Write(buf.Bytes())
	if err != nil {
		// The header is out: all that is left is to note it.
		return fmt.Errorf("write answer: %w", err)
	}
	return nil
}

// writeError answers with the error body, or only notes the cause when the header is already out.
func (a *API) writeError(w http.ResponseWriter, r *http.Request, err error) {
	x := exchangeFrom(r.Context())
	x.cause = err
	if rw, ok := w.(*response); ok && rw.wroteHeader() {
		return
	}
	e := toAPIError(err)
	body := errorBody{Error: e.Code, Message: e.Message, RequestID: x.requestID}
	h := w.Header()
	h["X-Content-Type-Options"] = []string{"nosniff"}
	if e.RetryAfter > 0 {
		body.RetryAfter = wholeSeconds(e.RetryAfter)
		h["Retry-After"] = []string{strconv.Itoa(body.RetryAfter)}
	}
	if werr := a.writeJSON(w, e.Status, withExtra{body, e.Extra}); werr != nil {
		a.cfg.Logger.DebugContext(r.Context(), "error body not sent", "error", spansanitizer.TextOf(werr))
	}
}

// errorBody is the one shape of every error under /api and of the service's own pages.
type errorBody struct {
	Error      string `json:"error"`
	Message    string `json:"message"`
	RequestID  string `json:"request_id"`
	RetryAfter int    `json:"retry_after,omitempty"`
}

// withExtra writes the fields of both structs as one object.
type withExtra struct {
	body  errorBody
	extra any
}

// MarshalJSON implements json.Marshaler.
func (m withExtra) MarshalJSON() ([]byte, error) {
	head, err := json.Marshal(m.body)
	if err != nil {
		return nil, fmt.Errorf("encode error body: %w", err)
	}
	if m.extra == nil {
		return head, nil
	}
	tail, err := json.Marshal(m.extra)
	if err != nil {
		return nil, fmt.Errorf("encode further fields: %w", err)
	}
	if len(tail) <= len("{}") {
		return head, nil
	}
	return append(append(head[:len(head)-1], ','), tail[1:]...), nil
}

func wholeSeconds(d time.Duration) int { return max(1, int((d+time.Second-1)/time.Second)) }

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// pathID returns a path parameter that is a safe identifier, or a 400. The rule is that of session ids.
func pathID(r *http.Request, name string) (string, error) {
	id := r.PathValue(name)
	if !finn.ValidSessionID(id) {
		return "", invalid("%s must have 1 to 128 characters of A-Z a-z 0-9 _ -", name)
	}
	return id, nil
}
