SELECT world_id, min(id)
FROM first_records
GROUP BY world_id
ORDER BY min(id)
