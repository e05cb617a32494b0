"""The commands and their options, a file a group; what they do lives in `proxy/cli`, imported when needed."""
