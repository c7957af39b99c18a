package main

import (
	"embed"

	"github.com/spf13/cobra"
)

// helpTexts has the long help of each command, as its reader sees it, in a file that
// bears the command's name.
//
//go:embed help
var helpTexts embed.FS

// addLongHelp gives commands their long help.
func addLongHelp(commands ...*cobra.Command) {
	for _, cmd := range commands {
		if text, err := helpTexts.ReadFile("help/" + cmd.Name() + ".txt"); err == nil { // help itself has none
			cmd.Long = string(text)
		}
	}
}
