// Package exitcode says with an error what the process should end with, for scripts that ask a command a question.
package exitcode

// Error is an error with an exit code.
type Error struct {
	Code int // 1 to 125: what is above is the shell's
	Err  error
}

// Error implements error.
func (e *Error) Error() string { return e.Err.Error() }

// ExitCode is what the process should end with.
func (e *Error) ExitCode() int { return e.Code }

// Unwrap implements errors.
func (e *Error) Unwrap() error { return e.Err }
