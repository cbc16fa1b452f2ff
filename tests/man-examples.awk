# Print the shell commands of a manual page's EXAMPLES: what stands between .Bd -literal and .Ed there.
/^\.Sh / { examples = ($2 == "EXAMPLES") }
examples && /^\.Bd -literal/ { block = 1; next }
/^\.Ed/ { block = 0 }
block {
    gsub(/\\&/, ""); gsub(/\\-/, "-"); gsub(/\\\(aq/, "\047"); gsub(/\\\(ti/, "~"); gsub(/\\e/, "\\")
    print
}
