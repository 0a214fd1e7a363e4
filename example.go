// Package balance holds what stands at the top of the module and goes into the
// program.
package balance

import "embed"

// Example is balance.toml.example: every key, with its default and what it means.
//
//go:embed balance.toml.example
var Example string

// Examples holds examples/*.toml: files for mail, web, databases and more.
//
//go:embed examples/*.toml
var Examples embed.FS
