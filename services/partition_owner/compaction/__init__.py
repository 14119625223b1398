"""What an owner does with what it has written: compaction, retention, DeleteRecords."""
