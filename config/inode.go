package config

import (
	"io/fs"
	"syscall"
)

func inodeOf(info fs.FileInfo) any {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return [2]uint64{uint64(stat.Dev), uint64(stat.Ino)}
	}
	return nil
}
