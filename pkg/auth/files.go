package auth

import (
	"context"
	"time"

	"go.uber.org/zap"
)

// filesEvery is how often key files are read again. They are small, and what is read says more than a time of change that
// has a second's precision or is a link's.
const filesEvery = 5 * time.Second

// files keeps the keys of files fresh.
type files struct {
	cfg  Config
	keys *keyring
	log  *zap.Logger

	told string // the error that was logged last
}

// run reads the files until ctx ends.
func (f *files) run(ctx context.Context) {
	ticker := time.NewTicker(filesEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			_ = f.load() // it is told of, and tried again
		case <-ctx.Done():
			return
		}
	}
}

// load reads the files once. Between two readings a file may be half written, or missing for a moment: the keys of before
// stay until all can be read.
func (f *files) load() error {
	keys, err := readKeyFiles(&f.cfg)
	f.keys.update(sourceFiles, keys, err)
	if err != nil {
		if f.told != err.Error() {
			f.log.Error("key files cannot be read: the keys of before are kept", zap.Error(err))
		}
		f.told = err.Error()
		return err
	}
	f.told = ""
	return nil
}
