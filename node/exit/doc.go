// Package exit is the closed list of exit codes that every WolfDisk program uses,
// and the way an error gets its code: explicitly with [With] or [Errorf] where the
// reason is known, otherwise by the error's kind in [Of].
package exit
