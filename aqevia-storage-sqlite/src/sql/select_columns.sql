SELECT name
FROM pragma_table_info('world_records')
ORDER BY name
