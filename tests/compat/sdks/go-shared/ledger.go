package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

const gateSeconds = 60

func ledger(name string) string {
	return filepath.Join(os.Getenv("COMPAT_LEDGER"), name)
}

// appendLine says durably that something ran.
func appendLine(name, line string) error {
	file, err := os.OpenFile(ledger(name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := file.WriteString(line + "\n"); err != nil {
		return err
	}
	return file.Sync()
}

func exists(name string) bool {
	_, err := os.Stat(ledger(name))
	return err == nil
}

func count(name string) (int, error) {
	data, err := os.ReadFile(ledger(name))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	return bytes.Count(data, []byte("\n")), err
}

// gate blocks at its first visit, where the process is killed, and is open at every later one.
func gate(name string) error {
	if exists(name) {
		return nil
	}
	if err := appendLine(name, "begun"); err != nil {
		return err
	}
	time.Sleep(gateSeconds * time.Second)
	return nil
}
