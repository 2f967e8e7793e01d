package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"

	"dixie/spansanitizer"
)

const (
	// watchDebounce lets an editor or a deployment finish before the file is read.
	watchDebounce = 500 * time.Millisecond
	pollInterval  = 30 * time.Second
	fileMode      = 0o600
)

// AllowlistFile is an allowlist in a file that others may change too. Its own changes are written to a
// temporary file and renamed, so that a reader or a crash never meets half a list.
type AllowlistFile struct {
	MemoryAllowlist

	path   string
	log    *slog.Logger
	last   []byte // what was read or written last; guarded by MemoryAllowlist.mu
	cancel context.CancelFunc
	done   chan struct{}
}

var _ Allowlist = (*AllowlistFile)(nil)

// OpenAllowlistFile reads the list and follows changes that others make, by watching the file's folder
// (a rename ends the watch of a file) or, with poll set or where watching fails, by looking every 30 s.
// An absent file is an empty list. A file that cannot be read or parsed is an error now; later it is
// logged and the list in memory stays. Close ends the watching.
func OpenAllowlistFile(path string, poll bool, log *slog.Logger) (*AllowlistFile, error) {
	f := &AllowlistFile{path: path, log: log, done: make(chan struct{})}
	f.current.Store(NewAllowlistSnapshot(AllowlistData{Version: allowlistVersion, Wallets: []string{}, APIKeys: []string{}}))
	if err := f.reload(); err != nil {
		return nil, fmt.Errorf("auth: %s: %w", path, err)
	}
	if f.last == nil {
		log.Warn("the allowlist file does not exist: nobody is admitted until it does or an admin adds somebody", "path", path)
	}
	f.refresh, f.save = f.catchUp, f.write

	ctx, cancel := context.WithCancel(context.Background())
	f.cancel = cancel
	var watcher *fsnotify.Watcher
	if !poll {
		watcher = f.watcher()
	}
	go f.follow(ctx, watcher)
	return f, nil
}

// Close ends the watching.
func (f *AllowlistFile) Close() error {
	f.cancel()
	<-f.done
	return nil
}

func (f *AllowlistFile) watcher() *fsnotify.Watcher {
	w, err := fsnotify.NewWatcher()
	if err == nil {
		if err = w.Add(filepath.Dir(f.path)); err == nil {
			return w
		}
		_ = w.Close()
	}
	f.log.WarnContext(context.Background(), "allowlist folder cannot be watched, looking every 30 s", "error", spansanitizer.TextOf(err))
	return nil
}

func (f *AllowlistFile) follow(ctx context.Context, w *fsnotify.Watcher) {
	defer close(f.done)
	var (
		events chan fsnotify.Event
		errs   chan error
		tick   <-chan time.Time
	)
	if w != nil {
		defer func() { _ = w.Close() }()
		events, errs = w.Events, w.Errors
	} else {
		ticker := time.NewTicker(pollInterval)
		defer ticker.Stop()
		tick = ticker.C
	}
	// The first look is for what changed before the watch began.
	settle := time.NewTimer(watchDebounce)
	defer settle.Stop()
	pending := true
	changed := func() {
		// A folder in which something always happens must not put the look off for ever.
		if !pending {
			pending = true
			settle.Reset(watchDebounce)
		}
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-events:
			// Whatever its name: behind a symbolic link it is another file that changes.
			changed()
		case err := <-errs:
			// Events may have been lost.
			f.log.WarnContext(ctx, "allowlist watch", "error", spansanitizer.TextOf(err))
			changed()
		case <-settle.C:
			pending = false
			f.look()
		case <-tick:
			f.look()
		}
	}
}

func (f *AllowlistFile) look() {
	if err := f.reload(); err != nil {
		f.log.Error("allowlist file not usable, the list in memory stays", "path", f.path, "error", spansanitizer.TextOf(err))
	}
}

var errGone = errors.New("the file has gone")

// catchUp is what a change starts from: the file as it is now, with what others wrote since the last
// look, or the list in memory when there is no file. The caller holds mu.
func (f *AllowlistFile) catchUp() error {
	if err := f.read(); err != nil && !errors.Is(err, errGone) {
		return fmt.Errorf("auth: the allowlist cannot be changed while its file is not usable: %w", err)
	}
	return nil
}

func (f *AllowlistFile) reload() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.read()
}

// read takes the file over; bytes that were read or written last change nothing. The caller holds mu.
func (f *AllowlistFile) read() error {
	raw, err := readBounded(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		if f.last != nil {
			return errGone
		}
		return nil
	}
	if err != nil {
		return err
	}
	if f.last != nil && bytes.Equal(raw, f.last) {
		return nil
	}
	data, err := ParseAllowlist(raw)
	if err != nil {
		return err
	}
	f.last = raw
	f.current.Store(NewAllowlistSnapshot(data))
	f.log.Info("allowlist read", "wallets", len(data.Wallets), "api_keys", len(data.APIKeys))
	return nil
}

// ReadAllowlistFile reads a list once, see [ParseAllowlist], and returns its bytes too. Its errors name the
// path; that of an absent file is [fs.ErrNotExist].
func ReadAllowlistFile(path string) (AllowlistData, []byte, error) {
	raw, err := readBounded(path)
	if err != nil {
		return AllowlistData{}, nil, err
	}
	data, err := ParseAllowlist(raw)
	if err != nil {
		return AllowlistData{}, nil, fmt.Errorf("auth: %s: %w", path, err)
	}
	return data, raw, nil
}

func readBounded(path string) ([]byte, error) {
	file, err := os.Open(path) //nolint:gosec // The path is the operator's own configuration.
	if err != nil {
		return nil, fmt.Errorf("open allowlist: %w", err)
	}
	defer func() { _ = file.Close() }()
	raw, err := io.ReadAll(io.LimitReader(file, allowlistMaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read allowlist: %w", err)
	}
	return raw, nil
}

// write replaces the file: temporary file in the same folder, sync, rename, sync of the folder.
// The caller holds mu.
func (f *AllowlistFile) write(data AllowlistData) error {
	raw, err := json.MarshalIndent(data, "", "  ")
	if err != nil {
		return fmt.Errorf("encode allowlist: %w", err)
	}
	raw = append(raw, '\n')
	folder := filepath.Dir(f.path)
	temp, err := os.CreateTemp(folder, ".allowlist-*")
	if err != nil {
		return fmt.Errorf("write allowlist: %w", err)
	}
	defer func() { _ = os.Remove(temp.Name()) }() // Gone already once it was renamed.
	_, err = temp.Write(raw)
	err = errors.Join(err, temp.Chmod(fileMode), temp.Sync(), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), f.path)
	}
	if err != nil {
		return fmt.Errorf("write allowlist: %w", err)
	}
	f.last = raw
	if dir, derr := os.Open(folder); derr == nil { //nolint:gosec // As above.
		_ = dir.Sync() // Not every file system can; the rename stands.
		_ = dir.Close()
	}
	return nil
}
