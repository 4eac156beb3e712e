// Package lifecycle starts and stops the parts of a process in order: a stack of named stops that are undone last in,
// first out, each with its own time limit, and a group of tasks that end together.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Stops is a stack of things to undo. It is safe for concurrent use.
type Stops struct {
	log *zap.Logger

	mu    sync.Mutex // guards steps; not held while a step runs
	steps []step
}

type step struct {
	name  string
	limit time.Duration
	stop  func(context.Context) error
}

// NewStops returns an empty stack that logs each step.
func NewStops(log *zap.Logger) *Stops { return &Stops{log: log} }

// Push adds a step to be undone before those that are there already. stop gets a context that ends after limit.
func (s *Stops) Push(name string, limit time.Duration, stop func(context.Context) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.steps = append(s.steps, step{name: name, limit: limit, stop: stop})
}

// Stop undoes every step, last in first out, and joins their errors: one that fails does not keep the others from being
// undone. Steps are undone once; a second Stop has nothing left to do.
func (s *Stops) Stop(ctx context.Context) error {
	var errs []error
	for {
		last, ok := s.pop()
		if !ok {
			return errors.Join(errs...)
		}
		if err := s.undo(ctx, last); err != nil {
			errs = append(errs, err)
		}
	}
}

func (s *Stops) pop() (step, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.steps) == 0 {
		return step{}, false
	}
	last := s.steps[len(s.steps)-1]
	s.steps = s.steps[:len(s.steps)-1]
	return last, true
}

func (s *Stops) undo(ctx context.Context, st step) error {
	ctx, cancel := context.WithTimeout(ctx, st.limit)
	defer cancel()
	begun := time.Now()
	err := st.stop(ctx)
	if err != nil {
		s.log.Error("stopping failed", zap.String("step", st.name), zap.Duration("after", time.Since(begun)), zap.Error(err))
		return fmt.Errorf("stopping %s: %w", st.name, err)
	}
	s.log.Info("stopped", zap.String("step", st.name), zap.Duration("after", time.Since(begun)))
	return nil
}

// Task is a part of a process that runs until its context ends.
type Task struct {
	Name string
	Run  func(ctx context.Context) error
}

// errTaskEnded is the cause for the others when a task returns before it was asked to.
var errTaskEnded = errors.New("a task ended by itself")

// RunAll runs tasks until ctx ends or one of them returns by itself, then ends the context of the others and waits for
// all. It returns the errors of the tasks, those that only say that the context ended left out.
func RunAll(ctx context.Context, tasks ...Task) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex // guards errs
		errs []error
	)
	for _, t := range tasks {
		wg.Go(func() {
			err := t.Run(ctx)
			if err != nil && (ctx.Err() == nil || !errors.Is(err, context.Canceled)) {
				mu.Lock()
				errs = append(errs, fmt.Errorf("%s: %w", t.Name, err))
				mu.Unlock()
			}
			cancel(errTaskEnded)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
